"""Axes that are not what the header says: swapped, or running the other way.

The affine stays as it is, so that the anatomy lies elsewhere, or is mirrored, and a mask that was right has to be
changed in the same way.
"""

from itertools import combinations

import numpy as np

from pipeline.damage.values import any_axis, long_axes, with_values
from pipeline.geometry import Reorientation
from pipeline.scan import Scan

IN_PLACE = (0, 1, 2)


def axes(scan: Scan, _strength: float, rng: np.random.Generator) -> Scan:
    """Two axes of the array are swapped, and each has the spacing and the direction of the other.

    It has no strength. In a single slice, they are those of its plane.
    """
    return reordered(scan, swapped(scan.shape, rng))


def flip(scan: Scan, _strength: float, rng: np.random.Generator) -> Scan:
    """One axis of the array runs the other way: left is right, or head is foot. It has no strength."""
    return reordered(scan, mirrored(scan.shape, rng))


def swapped(shape: tuple[int, ...], rng: np.random.Generator) -> Reorientation:
    """The order of the axes of an array after two of them were swapped."""
    several = long_axes(shape)
    pairs = list(combinations(several if len(several) > 1 else IN_PLACE, 2))
    first, second = pairs[int(rng.integers(len(pairs)))]
    order = list(IN_PLACE)
    order[first], order[second] = second, first
    return Reorientation(tuple(order), (False, False, False))


def mirrored(shape: tuple[int, ...], rng: np.random.Generator) -> Reorientation:
    """The axes of an array after one of them was turned round."""
    turned = any_axis(shape, rng)
    return Reorientation(IN_PLACE, tuple(axis == turned for axis in IN_PLACE))


def reordered(scan: Scan, order: Reorientation) -> Scan:
    """The scan with its array in another order, and its affine as it was."""
    return with_values(scan, order.apply(scan.array))
