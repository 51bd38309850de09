"""The kinds of damage, and a scan, or a scan and its mask, with one of them.

A new kind is a function of a scan, a strength and a generator, and its line in `DAMAGES`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.damage.directions import axes, flip, mirrored, reordered, swapped
from pipeline.damage.intensities import bias, contrast, noise
from pipeline.damage.kspace import ghosts, spikes
from pipeline.damage.regions import missing, patch
from pipeline.damage.resolution import blur, downsampled
from pipeline.geometry import Reorientation
from pipeline.scan import Scan

Damage = Callable[[Scan, float, np.random.Generator], Scan]
"""Gives a new scan on the same affine, as 32-bit floats, of a scan and a strength above 0 and up to 1."""

DAMAGES: dict[str, Damage] = {
    "contrast": contrast,
    "noise": noise,
    "blur": blur,
    "ghosts": ghosts,
    "bias": bias,
    "axes": axes,
    "flip": flip,
    "missing": missing,
    "patch": patch,
    "spikes": spikes,
    "downsampled": downsampled,
}
GEOMETRY: dict[str, Callable[[tuple[int, ...], np.random.Generator], Reorientation]] = {
    "axes": swapped,
    "flip": mirrored,
}
"""Kinds that put the anatomy elsewhere in the array, with how they order the axes of an array of a shape."""
INTENSITY: tuple[str, ...] = tuple(kind for kind in DAMAGES if kind not in GEOMETRY)
"""Kinds that leave the anatomy where it is: a mask that was right still is."""


def damage(scan: Scan, kind: str, *, strength: float, rng: np.random.Generator) -> Scan:
    """A scan with a damage; the same one where the generator is in the same state.

    Args:
        scan: with finite values. Those of the result are finite too, in 32-bit floats.
        kind: of `DAMAGES`.
        strength: above 0, which would leave the scan nearly as it is, and up to 1, which is severe.
        rng: where random numbers come from. How many are drawn does not depend on the strength.
    """
    assert 0 < strength <= 1, strength
    return DAMAGES[kind](scan, strength, rng)


def damage_with_mask(
    scan: Scan, mask: NDArray, kind: str, *, strength: float, rng: np.random.Generator
) -> tuple[Scan, NDArray]:
    """A scan with a damage, and the mask that is right for it.

    Args:
        scan: as in `damage`, which gives the same scan.
        mask: (I, J, K), on the grid of the scan.
        kind: as in `damage`.
        strength: as in `damage`.
        rng: as in `damage`.
    """
    assert mask.shape == scan.shape, (mask.shape, scan.shape)
    if kind not in GEOMETRY:
        return damage(scan, kind, strength=strength, rng=rng), mask
    order = GEOMETRY[kind](scan.shape, rng)
    return reordered(scan, order), np.ascontiguousarray(order.apply(mask[None])[0])
