"""A network in OpenVINO, on a CPU: compiled for windows of one shape. Tensors are 1 C D H W, or 1 C H W of images."""

import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.inference.backends.backend import Observe
from pipeline.inference.backends.converted import Converted

if TYPE_CHECKING:
    import openvino

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""The number formats of `inference.precision`, as OpenVINO calls them."""
_cores: list[Any] = []
_first = threading.Lock()


def load_openvino() -> Any:
    """The library, told not to report to its makers that it is used.

    Raises:
        ImportError: it is not installed, or does not work here.
    """
    # its own import allows for a telemetry that cannot be imported, as None makes it
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def core() -> "openvino.Core":
    """The one core of the process, which is never let go of.

    OpenVINO's plugin for CPUs gives the thread that loads it another stack for signals, and frees that stack with its
    core. A core that goes while the stack is in use (the thread has got one of a second core, or another thread lets
    go) leaves the thread without: the next signal, such as that of a child that ends, kills the process.

    Raises:
        ImportError: as `load_openvino`.
    """
    with _first:
        if not _cores:
            _cores.append(load_openvino().Core())
    return _cores[0]


def compile_network(network: Converted, precision: str, *, threads: int) -> "openvino.CompiledModel":
    """A converted network, ready to run on so many threads.

    Raises:
        RuntimeError: it cannot be compiled, or not in this number format.
    """
    openvino = load_openvino()
    weights = openvino.Tensor(np.frombuffer(network.weights, np.uint8))
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
    }
    compiled = core().compile_model(core().read_model(network.graph, weights), "CPU", settings)
    used = compiled.get_property("INFERENCE_PRECISION_HINT")
    if used != getattr(openvino.Type, HINTS[precision]):
        raise RuntimeError(f"OpenVINO runs in {used} where {precision} was asked for")
    return compiled


class OpenVinoBackend:
    """A compiled network; threads take turns with it.

    Args:
        compiled: its outputs are the finest logits, and then the features of the encoder's stages.
    """

    name = "openvino"

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        self._request, self._turn = compiled.create_infer_request(), threading.Lock()
        self._tensor = load_openvino().Tensor
        self._shapes = [tuple(output.shape) for output in compiled.outputs]

    def logits(self, window: Tensor, observe: Observe | None = None) -> Tensor:
        """As the interface says."""
        values = np.ascontiguousarray(window.numpy(), np.float32)
        found = [np.empty(shape, np.float32) for shape in self._shapes]  # OpenVINO writes there, without a copy
        with self._turn:
            for place, array in enumerate(found):
                self._request.set_output_tensor(place, self._tensor(array, shared_memory=True))
            self._request.infer([values], share_inputs=True, share_outputs=True)
        logits, *encoded = map(torch.from_numpy, found)
        if observe is not None:
            observe(encoded)
        return logits

    def features(self, window: Tensor) -> list[Tensor]:
        """As the interface says; some voxels of each stage."""
        found = list[Tensor]()
        self.logits(window, found.extend)
        return found
