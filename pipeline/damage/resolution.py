"""Too little resolution: blur, and thick slices.

Channels are I J K.
"""

import numpy as np
from scipy import ndimage

from pipeline.damage.values import Floats, any_axis, channels, with_values
from pipeline.scan import Scan

BLUR_MM = 4.0
"""The largest standard deviation of blur; in pictures, whose pixels have no known size, in pixels."""
FACTORS = (2, 6)
"""Voxels of the mildest and of the worst loss of resolution that become one."""


def blur(scan: Scan, strength: float, _rng: np.random.Generator) -> Scan:
    """A Gaussian blur of the same width in all directions.

    Near 0, there is none. At 1, its standard deviation is 4 mm, and what is closer than about 9 mm becomes one.
    """
    return with_values(scan, (blurred(channel, strength * BLUR_MM, scan.spacing_mm) for channel in channels(scan)))


def downsampled(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Thick slices along one axis, brought back to the grid by linear interpolation.

    Slices are twice as thick up to a strength of 0.2, three times as thick up to 0.4, and so on: at 1, six times.
    """
    axis, factor = any_axis(scan.shape, rng), FACTORS[0] - 1 + _step(strength)
    return with_values(scan, (thickened(channel, axis, factor) for channel in channels(scan)))


def blurred(channel: Floats, sigma_mm: float, spacing_mm: tuple[float, ...]) -> Floats:
    """A channel (I, J, K) under a Gaussian with this standard deviation.

    Beyond the edges lie their values. A Gaussian that is wider than the volume is as wide, which looks the same.
    """
    sigmas = [min(sigma_mm / spacing, size) for spacing, size in zip(spacing_mm, channel.shape, strict=True)]
    return ndimage.gaussian_filter(channel, sigmas, mode="nearest")


def thickened(channel: Floats, axis: int, factor: int) -> Floats:
    """A channel (I, J, K) whose values are those of slices that are ``factor`` voxels thick.

    A thick slice has the mean of its voxels. Their centres are interpolated between; beyond the outermost two lies
    their value. Two voxels a slice, of 0, 2, 4, 6:

        voxels      0   1   2   3
        slices      [ 1 ]   [ 5 ]     centres at 0.5 and 2.5
        result      1   2   4   5
    """
    size = channel.shape[axis]
    starts = np.arange(0, size, factor)
    ends = np.minimum(starts + factor, size)
    means = np.moveaxis(np.add.reduceat(channel, starts, axis=axis), axis, -1) / (ends - starts)
    places = np.interp(np.arange(size), (starts + ends - 1) / 2, np.arange(len(starts)))
    lower = np.floor(places).astype(int)
    share = places - lower
    upper = np.minimum(lower + 1, len(starts) - 1)
    return np.moveaxis(means[..., lower] * (1 - share) + means[..., upper] * share, -1, axis)


def _step(strength: float) -> int:
    """In which of as many equal parts as there are factors a strength lies, from 1."""
    return int(np.ceil(strength * (FACTORS[1] - FACTORS[0] + 1)))
