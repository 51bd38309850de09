"""From a network in PyTorch to one in OpenVINO, and whether the two agree.

    python -m pipeline.inference.backends.conversion FOLDER

reads what `convert_apart` has written to a folder, and writes the converted network beside it. It is a process of its
own because OpenVINO's compiler may crash, as that of 2026.4 does on some networks (`networks.blocks.GroupNorm`).
"""

import hashlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import pipeline
from pipeline.config.base import Section
from pipeline.config.network import NetworkConfig
from pipeline.files import PARTIAL
from pipeline.inference.backends.converted import Converted
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_network, core, load_openvino
from pipeline.inference.features import thinned
from pipeline.networks.unet import UNet

if TYPE_CHECKING:
    import openvino

REQUEST, REQUESTED_WEIGHTS = "request.json", "request.safetensors"
GRAPH, WEIGHTS = "network.xml", "network.bin"
TOLERANCES = {"fp32": 0.02, "bf16": 0.1}
"""By the number format: how far an output of a converted network may lie from that in fp32, root mean squares
compared. A layer that was converted to another one makes it about 1. Rounding makes it 0.02 in bf16; in fp32 it grows
with the window, because OpenVINO sums all voxels of a channel in 32 bits to normalise it: where half of a window is the
same value everywhere, 0.0005 of 64 x 64 x 64 voxels and 0.002 of 96 x 96 x 96, where PyTorch lies 0.000001 from 64
bits."""
SEED = 0
DEADLINE_SECONDS = 900.0
PACKAGE = Path(pipeline.__file__).parent
SOURCES = ("networks/*.py", "config/blocks.py", "config/network.py", "inference/features.py")
"""Code, beside this module's, that says what a converted network does."""


class ConversionRequest(Section):
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
        return (self.network.decode(encoded)[0], *map(thinned, encoded))


def key_of(request: ConversionRequest, network: UNet) -> str:
    """A hash of all that a converted network depends on: the request, weights, code, the processor, versions.

    Raises:
        ImportError: there is no OpenVINO.
    """
    versions = (load_openvino().__version__, torch.__version__, core().get_property("CPU", "FULL_DEVICE_NAME"))
    asked = request.model_dump_json(exclude={"threads": True, "network": {"init_from"}})
    found = hashlib.sha256(repr((versions, asked)).encode())
    for path in [Path(__file__), *(path for source in SOURCES for path in sorted(PACKAGE.glob(source)))]:
        found.update(path.read_bytes())
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()[:32]


def convert_apart(request: ConversionRequest, network: UNet) -> Converted:
    """Convert a network in a process of its own, and compare the two there.

    Raises:
        RuntimeError: it cannot be converted, or not so that it does what the network does.
        OSError: files cannot be written.
    """
    with TemporaryDirectory(prefix=PARTIAL) as name:
        folder = Path(name)
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(weights, folder / REQUESTED_WEIGHTS)
        (folder / REQUEST).write_text(request.model_dump_json(), encoding="utf-8")
        _run_apart(folder)
        return Converted((folder / GRAPH).read_bytes(), (folder / WEIGHTS).read_bytes())


def _run_apart(folder: Path) -> None:
    """Nothing is imported from the working directory (-P), where anything may lie."""
    line = [sys.executable, "-P", "-m", __spec__.name, str(folder)]
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            line,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no converted network after {DEADLINE_SECONDS:.0f} s") from error
    if done.returncode < 0:
        raise RuntimeError(f"the conversion was ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise RuntimeError(["", *done.stderr.strip().splitlines()][-1] or f"it ended with {done.returncode}")


def convert_request(folder: Path) -> None:
    """Convert the network of a folder, write what it was converted to, and compare what was written with the network.

    Raises:
        RuntimeError: as `convert` and `check_agreement`.
    """
    request = ConversionRequest.model_validate_json((folder / REQUEST).read_text(encoding="utf-8"))
    torch.set_num_threads(request.threads)
    network = UNet(request.network, request.channels, request.classes)
    network.load_state_dict(load_file(folder / REQUESTED_WEIGHTS))
    found = convert(network.eval(), request, folder)
    check_agreement(network, found, request)


def convert(network: UNet, request: ConversionRequest, folder: Path) -> Converted:
    """A network for windows of one shape.

    Args:
        network: on the CPU, in evaluation mode.
        request: the shape.
        folder: where it is written.

    Raises:
        RuntimeError: OpenVINO does not know a layer of it.
    """
    load_openvino().serialize(_model(network, request), folder / GRAPH, folder / WEIGHTS)
    return Converted((folder / GRAPH).read_bytes(), (folder / WEIGHTS).read_bytes())


def _model(network: UNet, request: ConversionRequest) -> "openvino.Model":
    load_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # torch's stub
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Traced(network), torch.zeros(request.shape), check_trace=False)
        decoder = TorchScriptPythonDecoder(traced)
        manager = FrontEndManager()  # has to live as long as what it has made is at work
        frontend = manager.load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape(list(request.shape))
    return model


def check_agreement(network: UNet, converted: Converted, request: ConversionRequest) -> float:
    """How far a converted network's outputs lie from those of the network in fp32, the worst one, as a share of it.

    Both see noise like prepared scans, of mean 0 and deviation 1, in one half of a window, and the same value
    everywhere in the other, as a background has; the converted one in its own number format.

    Args:
        network: on the CPU, in evaluation mode.
        converted: what it was converted to.
        request: by which it was.

    Raises:
        RuntimeError: further than `TOLERANCES` says.
    """
    window = torch.randn(request.shape, generator=torch.Generator().manual_seed(SEED))
    window[:, :, : window.shape[2] // 2] = -1
    with torch.inference_mode():
        expected = Traced(network)(window)
    backend = OpenVinoBackend(compile_network(converted, request.precision, threads=request.threads))
    encoded = list[Tensor]()
    found = [backend.logits(window, encoded.extend), *encoded]
    worst = 0.0
    for what, ours, theirs in zip(["logits", *["features"] * len(encoded)], found, expected, strict=True):
        size = theirs.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        share = float((ours - theirs).square().mean().sqrt() / size)
        if not share <= TOLERANCES[request.precision]:  # nor where it is not a number
            raise RuntimeError(f"its {what} differ from PyTorch's by {share:.2g} of these")
        worst = max(worst, share)
    return worst


if __name__ == "__main__":
    convert_request(Path(sys.argv[1]))
