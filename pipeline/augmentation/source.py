"""How much of a case an augmentation has to see."""

from math import atan2, cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from pipeline.config.augmentation import AugmentationConfig

PLANE = 2
"""Axes of an image, which turns about the axis that it has not: the third."""


def source_size(patch_size: tuple[int, ...], config: AugmentationConfig) -> tuple[int, ...]:
    """Voxels to read around a patch's centre so that rotating and scaling find image everywhere inside it.

    A box of sides (a, b) turned by an angle t about the third axis fits into sides (a cos t + b sin t, b cos t +
    a sin t); the first grows until tan t = b/a and shrinks again beyond, so the angle counts up to there. Shrinking
    the image by a factor f needs 1/f as many voxels.
    """
    size = np.array(patch_size, dtype=float)
    if config.rotation > 0:
        axes = (2,) if len(patch_size) == PLANE else (0, 1, 2)
        size = np.max([_turned(size, axis, config.rotation_degrees[axis]) for axis in axes], axis=0)
    if config.scaling > 0:
        size = size / min(1.0, config.scaling_range[0])
    return tuple(int(n) for n in np.ceil(size))


def _turned(size: NDArray, axis: int, degrees: float) -> NDArray:
    turned = size.copy()
    a, b = (other for other in range(3) if other != axis)
    turned[a] = _largest_side(size[a], size[b], radians(abs(degrees)))
    turned[b] = _largest_side(size[b], size[a], radians(abs(degrees)))
    return turned


def _largest_side(own: float, other: float, largest_angle: float) -> float:
    angle = min(largest_angle, atan2(other, own))
    return own * cos(angle) + other * sin(angle)
