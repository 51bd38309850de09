"""The interface of what runs a network, and PyTorch behind it. Tensors are 1 C D H W, or 1 C H W of images."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from pipeline.inference.precision import Compute
from pipeline.networks.unet import UNet

Observe = Callable[[list[Tensor]], None]
"""Is given what each encoder stage makes of a window, finest stage first, each (1, F, ...)."""


class Backend(Protocol):
    """Runs a trained U-Net, a window at a time."""

    @property
    def name(self) -> str:
        """As in `inference.backend`."""

    def logits(self, window: Tensor, observe: Observe | None = None) -> Tensor:
        """The finest logits (1, classes, ...) of a window.

        Args:
            window: (1, C, ...) of the patch's size, on the CPU.
            observe: is given what `features` returns.
        """

    def features(self, window: Tensor) -> list[Tensor]:
        """What each encoder stage makes of a window, finest first: (1, F, ...), or some evenly spread voxels of it."""


class TorchBackend:
    """A network in PyTorch, on a CPU or a GPU, where its output stays.

    Args:
        network: a U-Net, in evaluation mode.
        compute: where it runs; the network is there already.
    """

    name = "torch"

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        self.network, self.compute = network, compute

    def logits(self, window: Tensor, observe: Observe | None = None) -> Tensor:
        """As the interface says."""
        with self.compute.autocast():
            if observe is None:
                return self.network(self.compute.place(window))[0]
            encoded = self._unet.encode(self.compute.place(window))
            observe(encoded)
            return self._unet.decode(encoded)[0]

    def features(self, window: Tensor) -> list[Tensor]:
        """As the interface says; all voxels."""
        with self.compute.autocast():
            return self._unet.encode(self.compute.place(window))

    @property
    def _unet(self) -> UNet:
        assert isinstance(self.network, UNet)
        return self.network
