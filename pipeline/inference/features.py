"""What the encoder of a network that segments makes of a scan, in a few numbers. Tensors are B F D H W."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.preprocessing.ranges import sampling_steps

MOST_VOXELS = 20_000
"""Of a stage of a window, that its features are taken from."""


class EncoderFeatures:
    """Mean and standard deviation of each channel of each encoder stage, over all windows of a scan.

    They come with the windows that make the mask, so that they cost no further pass of the network.
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._windows = 0

    def see(self, encoded: list[Tensor]) -> None:
        """Take in the features of a window, finest stage first, each (1, F, ...)."""
        moments = [_moments(thinned(stage)) for stage in encoded]
        self._sums = [a + b for a, b in zip(self._sums, moments, strict=True)] if self._sums else moments
        self._windows += 1

    def values(self) -> NDArray[np.float64]:
        """The means and then the deviations of each stage, finest first, (2 * channels,).

        A window counts as much as another one; the deviation is that within and between them.
        """
        assert self._windows
        parts = []
        for sums in self._sums:
            mean, square = sums.cpu().numpy() / self._windows
            parts += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
        return np.concatenate(parts)


def thinned(stage: Tensor) -> Tensor:
    """At most `MOST_VOXELS` of a stage (1, F, ...), at even steps along its axes; a view."""
    steps = sampling_steps(tuple(stage.shape[2:]), MOST_VOXELS)
    return stage[(slice(None), slice(None), *(slice(None, None, step) for step in steps))]


def _moments(stage: Tensor) -> Tensor:
    """Mean and mean square of each channel (2, F), in 64 bits: of a channel that hardly varies, little is left."""
    values, axes = stage.float(), [0, *range(2, stage.ndim)]
    mean = values.mean(axes, keepdim=True)
    variance = (values - mean).square_().mean(axes).double()  # `torch.var_mean` takes four times as long
    return torch.stack([mean.flatten().double(), variance + mean.flatten().double() ** 2])
