"""From a network in PyTorch to one in OpenVINO, and whether the two agree.

    python -m pipeline.inference.backends.conversion FOLDER

reads what `write_order` has written to a folder, and writes the converted network beside it. It is a process of its own
because OpenVINO's compiler may crash, as that of 2026.4 does of some networks (`networks.blocks.GroupNorm`).
"""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.config.base import Section
from pipeline.config.network import NetworkConfig
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_model, load_openvino
from pipeline.inference.features import thinned
from pipeline.networks.unet import UNet

if TYPE_CHECKING:
    import openvino

ORDER, ORDERED_WEIGHTS = "order.json", "order.safetensors"
NETWORK, WEIGHTS = "network.xml", "network.bin"
TOLERANCES = {"fp32": 1e-3, "bf16": 0.1}
"""By the number format: how far the logits of a converted network may lie from those in fp32, root mean squares
compared. What rounding does is 1e-6 to 1e-4 and 0.02; a layer that was converted to another one makes it about 1."""
SEED = 0
DEADLINE_SECONDS = 900.0


class Order(Section):
    """A network that is to be converted, but for its weights."""

    network: NetworkConfig
    channels: int
    """Of the input."""
    classes: int
    """The background included."""
    patch_size: tuple[int, ...]
    precision: str
    """Number format of the convolutions: fp32 or bf16."""
    threads: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a window, (1, C, ...)."""
        return (1, self.channels, *self.patch_size)


class Traced(nn.Module):
    """A network as it is converted: the finest logits, and then some evenly spread voxels of each encoder stage.

    These cost next to nothing, so that one network does for whoever wants them and whoever does not.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor) -> tuple[Tensor, ...]:
        """Of a window (1, C, ...), the logits (1, classes, ...) and the stages (1, F, ...)."""
        encoded = self.network.encode(window)
        logits = self.network.decode(encoded)[0]
        return (logits, *map(thinned, encoded))


def make(order: Order, network: UNet, folder: Path) -> None:
    """Convert a network, in a process of its own, to `NETWORK` and `WEIGHTS` in a folder.

    Raises:
        RuntimeError: it cannot be converted, or not so that it does what the network does.
        OSError: a file cannot be written.
    """
    write_order(order, network, folder)
    line = [sys.executable, "-m", __spec__.name, str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no converted network after {DEADLINE_SECONDS:.0f} s") from error
    if done.returncode < 0:
        raise RuntimeError(f"the conversion was ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise RuntimeError(["", *done.stderr.strip().splitlines()][-1] or f"it ended with {done.returncode}")
    for name in (ORDER, ORDERED_WEIGHTS):
        (folder / name).unlink()


def write_order(order: Order, network: UNet, folder: Path) -> None:
    """Write what `fulfil` reads."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / ORDERED_WEIGHTS)
    (folder / ORDER).write_text(order.model_dump_json(), encoding="utf-8")


def fulfil(folder: Path) -> None:
    """Convert the network of a folder, compare the two, and write what it was converted to."""
    order = Order.model_validate_json((folder / ORDER).read_text(encoding="utf-8"))
    torch.set_num_threads(order.threads)
    network = UNet(order.network, order.channels, order.classes)
    network.load_state_dict(load_file(folder / ORDERED_WEIGHTS))
    model = convert(network.eval(), order)
    check_agreement(network, model, order)
    load_openvino().serialize(model, folder / NETWORK, folder / WEIGHTS)


def convert(network: UNet, order: Order) -> "openvino.Model":
    """A network for windows of one shape.

    Args:
        network: on the CPU, in evaluation mode.
        order: the shape.

    Raises:
        RuntimeError: OpenVINO does not know a layer of it.
    """
    load_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # torch's stub
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Traced(network), torch.zeros(order.shape), check_trace=False)
        decoder = TorchScriptPythonDecoder(traced)
        manager = FrontEndManager()  # has to live as long as what it has made is at work
        frontend = manager.load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape(list(order.shape))
    return model


def check_agreement(network: UNet, model: "openvino.Model", order: Order) -> float:
    """How far a converted network's logits lie from those of the network in fp32, as a share of these.

    Both see noise like prepared scans, of mean 0 and deviation 1; the converted one in its own number format.

    Args:
        network: on the CPU, in evaluation mode.
        model: what it was converted to.
        order: by which it was.

    Raises:
        RuntimeError: further than `TOLERANCES` says.
    """
    window = torch.randn(order.shape, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        expected = network(window)[0]
    found = OpenVinoBackend(compile_model(model, order.precision, threads=order.threads)).logits(window)
    size = expected.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    share = float((found - expected).square().mean().sqrt() / size)
    if not share <= TOLERANCES[order.precision]:  # nor where it is not a number
        raise RuntimeError(f"its logits differ from PyTorch's by {share:.2g} of these")
    return share


if __name__ == "__main__":
    fulfil(Path(sys.argv[1]))
