"""Devices and number formats."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ConfigError

TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
MARGIN = 0.1
"""Share of the time that bf16 has to save on a CPU to be chosen over fp32."""
RUNS = 5
"""Timed runs of each format."""


@dataclass(frozen=True)
class Compute:
    """Where and how a network runs.

    Attributes:
        device: cpu or cuda.
        precision: fp32, bf16 or fp16; weights and losses stay in fp32.
    """

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[None]:
        """Run convolutions in the chosen number format."""
        kind = TYPES[self.precision]
        return torch.autocast(self.device.type, kind or torch.bfloat16, enabled=kind is not None)

    def place(self, batch: Tensor) -> Tensor:
        """Bring a batch to the device with its channels last, the layout in which convolutions are fastest."""
        layout = torch.channels_last_3d if batch.ndim == 5 else torch.channels_last
        return batch.to(self.device, memory_format=layout, non_blocking=True)

    def place_network(self, network: nn.Module, dimensions: int) -> nn.Module:
        """Bring a network to the device, weights in the layout of the batches."""
        layout = torch.channels_last_3d if dimensions == 3 else torch.channels_last
        network.to(self.device)
        return nn.Module.to(network, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it


def compute_for(config: InferenceConfig, trained: str) -> Compute:
    """Where a trained network is to run, once the number of threads has been set.

    Args:
        config: device, backend, precision and threads; OpenVINO runs on the CPU.
        trained: the number format that it was trained in.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device("cpu" if config.device == "auto" and config.backend == "openvino" else config.device)
    return Compute(device, choose_precision(config.precision, device, trained))


Step = Callable[[Compute], None]
"""A piece of the work, run in the number format that is given."""


def choose_device(asked: str) -> torch.device:
    """The device of a name in the configuration.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        remedy = "Use the processor: --device cpu, or of a training training.device=cpu."
        raise ConfigError("a CUDA device, as was asked for", "none", remedy)
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(asked: str, device: torch.device, trained: str) -> str:
    """The number format of inference; it is never timed, so that the same model gives the same masks each time.

    Args:
        asked: auto, or the format itself. Auto is the format of the training where the device has it; else fp32 on a
            CPU, and on a GPU bf16 or, where it lacks that, fp16.
        device: where the network runs.
        trained: the format of the training.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if asked != "auto":
        return _checked(asked, device)
    return trained if trained in native_precisions(device) else _usual(device)


def choose_training_precision(asked: str, device: torch.device, make_step: Callable[[], Step]) -> str:
    """The number format of a training that begins; a resumed one keeps it.

    Args:
        asked: auto, or the format itself. Auto is bf16 on a GPU that has it, else fp16; on a CPU that has bf16
            instructions, whatever `faster_precision` measures; else fp32.
        device: where the network runs.
        make_step: makes the piece of work to be timed; called where something is.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if asked != "auto":
        return _checked(asked, device)
    if device.type == "cpu" and "bf16" in native_precisions(device):
        return faster_precision(make_step(), device)
    return _usual(device)


def faster_precision(step: Step, device: torch.device) -> str:
    """The faster one of fp32 and bf16; bf16 has to win by a margin, so that noise does not decide.

    Each runs once to warm up. Then they take turns, and the shortest run of each counts: whatever else the machine does
    makes a run longer, never shorter.
    """
    formats = [Compute(device, precision) for precision in ("fp32", "bf16")]
    for compute in formats:
        step(compute)
    turns = [[_seconds(step, compute) for compute in formats] for _ in range(RUNS)]
    fp32, bf16 = (min(seconds) for seconds in zip(*turns, strict=True))
    return "bf16" if bf16 < (1 - MARGIN) * fp32 else "fp32"


def native_precisions(device: torch.device) -> frozenset[str]:
    """The number formats that a device has instructions for."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return frozenset(("fp32", "fp16", "bf16") if has_bf16 else ("fp32", "fp16"))
    capabilities = torch.cpu.get_capabilities()
    has_bf16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return frozenset(("fp32", "bf16") if has_bf16 else ("fp32",))


def _usual(device: torch.device) -> str:
    if device.type == "cpu":
        return "fp32"
    return "bf16" if "bf16" in native_precisions(device) else "fp16"


def _checked(asked: str, device: torch.device) -> str:
    if asked == "fp16" and device.type == "cpu":
        raise ConfigError("fp32 or bf16 on a CPU", "fp16", "Choose bf16, fp32 or auto.")
    return asked


def _seconds(step: Step, compute: Compute) -> float:
    started = time.perf_counter()
    step(compute)
    return time.perf_counter() - started
