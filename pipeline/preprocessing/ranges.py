"""What the training cases were like: how far a new scan and its mask lie from them is worth a look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.config.base import Section
from pipeline.scan import Scan, Unit
from pipeline.structures import structures_in

Range = tuple[float, float]
"""The lowest and the highest value."""
PERCENTILES = (0.5, 50.0, 99.5)
SAMPLED_VOXELS = 1_000_000


class LabelRange(Section):
    """What a label was like in the training cases."""

    size: Range | None
    """In ml, of pictures in pixels, where it was there; None where it never was."""
    parts: int
    """The largest number of connected parts."""
    absent_share: float
    """Share of the cases that did not have it."""
    border_share: float
    """Share of the cases that had it in which it touched the border of the scan."""


class TrainingRanges(Section):
    """What the training cases were like; names none of them."""

    cases: int
    """How many there were."""
    labels: dict[str, LabelRange]
    """By the name of the label."""
    intensities: tuple[tuple[Range, Range, Range], ...]
    """Of each channel, how far the 0.5, 50 and 99.5 percentile of a scan's intensities reached."""
    spacing_mm: tuple[Range, Range, Range]
    """In RAS order."""
    repaired_share: float
    """Share of the cases whose geometry had to be repaired."""


@dataclass(frozen=True)
class Extent:
    """How much of a scan a label covers: its size in ml or px, its parts, and whether it touches the border."""

    size: float
    parts: int
    touches_border: bool


@dataclass(frozen=True)
class Measured:
    """What the ranges need of one training case.

    Attributes:
        extents: by the label's value in the mask.
        percentiles: (C, 3) of the intensities.
        spacing_mm: in RAS order.
        is_repaired: whether its geometry had to be repaired.
    """

    extents: Mapping[int, Extent]
    percentiles: NDArray[np.float64]
    spacing_mm: tuple[float, ...]
    is_repaired: bool


def measure(scan: Scan, labels: NDArray[np.unsignedinteger]) -> Measured:
    """Measure a case; ``labels`` (I, J, K) is its mask on the same grid."""
    extents = {
        value: Extent(
            size_of(structure.voxels, scan.affine, scan.unit),
            structure.parts(),
            structure.touches_border(scan.shape, scan.unit),
        )
        for value, structure in structures_in(labels)
    }
    spacing_mm = geometry.ras_spacing_mm(scan.affine)
    return Measured(extents, percentiles_of(scan.array), spacing_mm, bool(scan.repairs))


def size_of(voxels: int, affine: geometry.Affine, unit: Unit) -> float:
    """The size of a structure in ml, or of a picture in pixels."""
    return voxels * geometry.voxel_volume_ml(affine) if unit == "mm" else float(voxels)


def percentiles_of(array: NDArray) -> NDArray[np.float64]:
    """The 0.5, 50 and 99.5 percentile of each channel of a scan (C, 3), of a million of its voxels (C, I, J, K)."""
    return np.percentile(thinned(array).reshape(len(array), -1).astype(np.float64), PERCENTILES, axis=1).T


def thinned(array: NDArray) -> NDArray:
    """A scan (C, I, J, K) of which a million voxels at most are left, at even steps along each axis; a view."""
    steps = sampling_steps(array.shape[1:], SAMPLED_VOXELS)
    return array[(slice(None), *(slice(None, None, step) for step in steps))]


def sampling_steps(shape: tuple[int, ...], most: int) -> list[int]:
    """Steps along the axes that leave so many voxels at most.

    The longest axes are thinned out first: steps through the flat array could meet the same slices again and again.

    Example:
        >>> sampling_steps((512, 512, 20), 1_000_000)
        [3, 2, 1]
    """
    steps = [1] * len(shape)
    while math.prod(sizes := [-(-size // step) for size, step in zip(shape, steps, strict=True)]) > most:
        steps[sizes.index(max(sizes))] += 1
    return steps


def fit_ranges(cases: Sequence[Measured], labels: Mapping[str, int]) -> TrainingRanges:
    """How far the training cases reach.

    Args:
        cases: what was measured of each, at least one.
        labels: name and value of each structure.
    """
    percentiles = np.array([case.percentiles for case in cases])
    return TrainingRanges(
        cases=len(cases),
        labels={name: _label_range(cases, value) for name, value in labels.items()},
        intensities=tuple(_three(percentiles[:, channel]) for channel in range(percentiles.shape[1])),
        spacing_mm=_three(np.array([case.spacing_mm for case in cases])),
        repaired_share=float(np.mean([case.is_repaired for case in cases])),
    )


def _label_range(cases: Sequence[Measured], value: int) -> LabelRange:
    found = [case.extents[value] for case in cases if value in case.extents]
    sizes = [extent.size for extent in found]
    return LabelRange(
        size=(min(sizes), max(sizes)) if sizes else None,
        parts=max((extent.parts for extent in found), default=0),
        absent_share=1 - len(found) / len(cases),
        border_share=sum(extent.touches_border for extent in found) / max(len(found), 1),
    )


def _three(values: NDArray[np.float64]) -> tuple[Range, Range, Range]:
    """The ranges of three columns."""
    first, second, third = ((float(column.min()), float(column.max())) for column in values.T)
    return first, second, third
