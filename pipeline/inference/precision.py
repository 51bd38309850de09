"""Devices and number formats."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError

TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def choose_device(asked: str) -> torch.device:
    """The device of a name in the configuration.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError("a CUDA device, as was asked for", "none", "Use --device cpu or training.device=cpu.")
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError("a device: auto, cpu or cuda", repr(asked), "Choose one of these.")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(asked: str, device: torch.device, step: Callable[[Compute], None]) -> str:
    """The number format of a name in the configuration.

    Args:
        asked: auto, or the format itself. Auto is bf16 on a GPU that has it, else fp16; on a CPU that has bf16
            instructions, whichever of fp32 and bf16 runs ``step`` faster; else fp32.
        device: where the network runs.
        step: a piece of the work, to be timed.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if asked == "fp16" and device.type == "cpu":
        raise ConfigError("fp32 or bf16 on a CPU", "fp16", "Choose bf16, fp32 or auto.")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if not _cpu_has_bf16():
        return "fp32"
    return min(("fp32", "bf16"), key=lambda precision: _seconds(step, Compute(device, precision)))


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _seconds(step: Callable[[Compute], None], compute: Compute) -> float:
    step(compute)
    started = time.perf_counter()
    step(compute)
    return time.perf_counter() - started
