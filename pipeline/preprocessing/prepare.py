"""The way from a scan to the network's input, and the way back.

prepare:  reorient to RAS -> crop to the nonzero box -> normalise -> resample to the target spacing
          (for networks of images, the axis across the slices comes last and is not resampled)
restore:  argmax while resampling back -> into the uncropped volume, through a view of it in the scan's own order
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.preprocessing import resample
from pipeline.preprocessing.blocks import Block, argmax_blocks
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.intensity import normalise
from pipeline.scan import Scan, ScanHeader, Unit
from pipeline.wording import count_of

Box = tuple[tuple[int, int], ...]
"""A half-open range along each axis."""
LAST = 2
"""The axis across the slices of what networks of images see."""
MAX_VOXELS = 2 * 10**9
"""Of a prepared scan, all channels counted: 8 GB, more than a CT of a whole body at half a millimetre has."""


@dataclass(frozen=True)
class Trail:
    """What `prepare` did to a scan's grid, so that `restore` can undo it.

    Attributes:
        reorientation: from the scan's axes to those of the prepared array: RAS order, or with the slices' axis last.
        full_shape: spatial shape in that order, before cropping.
        box: half-open range of the crop along each axis, in that order.
        spacing_mm: spacing in that order, before resampling.
        shape: spatial shape of the prepared array.
        coarse: axis resampled apart because the scan is anisotropic, or None.
    """

    reorientation: geometry.Reorientation
    full_shape: tuple[int, ...]
    box: Box
    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    coarse: int | None

    @property
    def box_slices(self) -> tuple[slice, ...]:
        """The crop as slices of the spatial axes."""
        return tuple(slice(low, high) for low, high in self.box)

    @property
    def prepared_spacing_mm(self) -> tuple[float, ...]:
        """Spacing along the axes of the prepared array."""
        return tuple(mm * n / m for mm, n, m in zip(self.spacing_mm, self.box_shape, self.shape, strict=True))

    @property
    def own_shape(self) -> tuple[int, ...]:
        """Spatial shape of the scan, in its own order."""
        return self.reorientation.undo_shape(self.full_shape)

    @property
    def box_shape(self) -> tuple[int, ...]:
        """Spatial shape after cropping, before resampling."""
        return tuple(high - low for low, high in self.box)


@dataclass(frozen=True)
class Prepared:
    """A scan as the network sees it: ``image`` (C, I, J, K) float32 in RAS order, and the way back."""

    image: NDArray[np.float32]
    trail: Trail


def prepare(scan: Scan, fitted: FittedPreprocessing) -> Prepared:
    """Bring a scan into the form that the network was trained on.

    Raises:
        ScanError: the scan has another number of channels than the training cases, it has no spacing where they had one
            or the other way round, or its spacing is so far from theirs that it would become too large.
    """
    problem = foreign_unit(scan.unit, fitted)
    if problem is not None:
        raise problem
    expected = len(fitted.channels)
    if scan.channels != expected:
        raise ScanError(
            f"a scan with {count_of(expected, 'channel')}, as in training",
            str(scan.channels),
            "Give one volume a channel on one grid; a series over time is not a set of channels.",
        )
    trail = plan_trail(scan, fitted)
    _check_size(trail, fitted)
    cropped = trail.reorientation.apply(scan.array)[(slice(None), *trail.box_slices)]
    normal = np.stack([normalise(channel, how) for channel, how in zip(cropped, fitted.channels, strict=True)])
    image = resample.resample_image(normal, trail.shape, order=fitted.resampling_order, coarse=trail.coarse)
    return Prepared(np.ascontiguousarray(image), trail)


def plan_trail(scan: Scan, fitted: FittedPreprocessing) -> Trail:
    """Where the scan's grid goes: orientation, crop and resampled shape; no intensity is touched."""
    upright = _order(scan.affine, fitted).apply(scan.array)
    box = nonzero_box(upright) if fitted.crop == "nonzero" else _whole(upright.shape[1:])
    return _plan(scan.affine, upright.shape[1:], box, fitted=fitted)


def plan_uncropped(header: ScanHeader, fitted: FittedPreprocessing) -> Trail:
    """The same of a scan of which only the header is known, as if nothing could be cropped: its voxels are the most."""
    shape = tuple(header.shape[axis] for axis in _order(header.affine, fitted).source_axis)
    return _plan(header.affine, shape, _whole(shape), fitted=fitted)


def _whole(shape: tuple[int, ...]) -> Box:
    return tuple((0, n) for n in shape)


def _plan(affine: geometry.Affine, full_shape: tuple[int, ...], box: Box, *, fitted: FittedPreprocessing) -> Trail:
    reorientation = _order(affine, fitted)
    spacing = reorientation.spacing_mm(affine)
    target = _target_mm(spacing, fitted)
    cropped = tuple(high - low for low, high in box)
    return Trail(
        reorientation=reorientation,
        full_shape=full_shape,
        box=box,
        spacing_mm=spacing,
        shape=resample.target_shape(cropped, spacing, target),
        coarse=LAST if fitted.slice_axis is not None else _coarse_axis(spacing, target, fitted.anisotropy_ratio),
    )


def _order(affine: geometry.Affine, fitted: FittedPreprocessing) -> geometry.Reorientation:
    """From a scan's axes to those of what is prepared."""
    to_ras = geometry.to_ras(affine)
    return to_ras if fitted.slice_axis is None else to_ras.with_last(fitted.slice_axis)


def _target_mm(own_mm: tuple[float, ...], fitted: FittedPreprocessing) -> tuple[float, ...]:
    """The spacing to resample to along the prepared axes; slices stay where they are."""
    if fitted.spacing_mm is None:
        return own_mm
    if fitted.slice_axis is None:
        return fitted.spacing_mm
    return (*fitted.prepared_spacing_mm[:LAST], own_mm[LAST])


def foreign_unit(unit: Unit, fitted: FittedPreprocessing) -> ScanError | None:
    """Why scans of a unit do not suit: pixels of unknown size would pass for millimetres, or the other way round."""
    if unit == fitted.unit:
        return None
    kinds = {"mm": "a scan with a spacing in mm", "px": "a picture without a spacing (PNG, TIFF, JPEG ...)"}
    return ScanError(f"{kinds[fitted.unit]}, as in training", kinds[unit], "Take a model of such scans.")


def _check_size(trail: Trail, fitted: FittedPreprocessing) -> None:
    """Refuse what resampling would blow up: a wrong unit in a header makes a thousand times the voxels of an axis."""
    channels = len(fitted.channels)
    if channels * math.prod(trail.shape) <= MAX_VOXELS:
        return
    spacing, target = (
        " x ".join(f"{mm:.3g}" for mm in each) for each in (trail.spacing_mm, fitted.spacing_mm or trail.spacing_mm)
    )
    raise ScanError(
        f"a scan of at most {MAX_VOXELS:.0e} voxels, all channels counted, at the model's spacing of {target} mm",
        f"{' x '.join(map(str, trail.shape))} x {channels} voxels, from a spacing of {spacing} mm",
        "Compare the spacing in its header with the original scan, or crop it.",
    )


def _coarse_axis(spacing_mm: tuple[float, ...], target_mm: tuple[float, ...], ratio: float) -> int | None:
    """The scan's own coarse axis or, where it has none, the one that the target spacing makes coarse."""
    own = resample.coarse_axis(spacing_mm, ratio)
    return own if own is not None else resample.coarse_axis(target_mm, ratio)


def prepare_labels(labels: NDArray[np.unsignedinteger], trail: Trail) -> NDArray[np.unsignedinteger]:
    """Take a label map (I, J, K) on the scan's grid the way that its scan went."""
    upright = trail.reorientation.apply(labels[None])[0]
    return np.ascontiguousarray(resample.resample_labels(upright[trail.box_slices], trail.shape, trail.coarse))


def restore(scores: NDArray[np.floating], trail: Trail) -> NDArray[np.uint8]:
    """From scores of the prepared array to class numbers on the scan's own grid.

    Args:
        scores: (classes, I, J, K) on the prepared grid; logits or probabilities, the largest wins.
        trail: what `prepare` returned.

    Returns:
        Class numbers (I, J, K) with the scan's own shape and axis order; 0 where the crop cut away.
    """
    assert scores.shape[1:] == trail.shape, (scores.shape, trail.shape)
    whole = tuple(slice(0, n) for n in trail.shape)
    return restore_blocks([(whole, scores)], trail, order=(0, 1, 2))


def restore_blocks(blocks: Iterable[Block], trail: Trail, *, order: tuple[int, ...]) -> NDArray[np.uint8]:
    """The same from scores that come in blocks, of which only one at a time is needed.

    Args:
        blocks: of the prepared grid, as `blocks.argmax_blocks` takes them.
        trail: what `prepare` returned.
        order: the axes of the prepared grid, the one along which blocks advance slowest first.

    Returns:
        What `restore` returns for the blocks put together, to the bit.
    """
    mask = np.zeros(trail.own_shape, np.uint8)
    upright = trail.reorientation.apply(mask[None])[0]  # a view: what is written there is in the mask
    argmax_blocks(blocks, upright[trail.box_slices], shape=trail.shape, order=order, coarse=trail.coarse)
    return mask


def restore_probabilities(probabilities: NDArray[np.floating], trail: Trail) -> NDArray[np.float32]:
    """The probability of each class on the scan's own grid; the likeliest class of a voxel is that of `restore`.

    Args:
        probabilities: (classes, I, J, K) on the prepared grid.
        trail: what `prepare` returned.

    Returns:
        (classes, I, J, K) with the scan's own shape and axis order, all background where the crop cut away.
    """
    assert probabilities.shape[1:] == trail.shape, (probabilities.shape, trail.shape)
    restored = np.zeros((len(probabilities), *trail.own_shape), np.float32)
    restored[0] = 1
    box = trail.reorientation.apply(restored)[:, *trail.box_slices]  # a view, as in `restore_blocks`
    for index, one in enumerate(probabilities):
        box[index] = resample.resample_image(one[None], trail.box_shape, order=1, coarse=trail.coarse)[0]
    return restored


def nonzero_box(image: NDArray) -> Box:
    """The smallest box (half-open ranges) that holds every voxel (C, I, J, K) where some channel is not zero.

    An image that is zero everywhere is kept whole.
    """
    occupied = (image != 0).any(axis=0)
    if not occupied.any():
        return tuple((0, n) for n in occupied.shape)
    box = []
    for axis in range(occupied.ndim):
        others = tuple(other for other in range(occupied.ndim) if other != axis)
        indices = np.flatnonzero(occupied.any(axis=others))
        box.append((int(indices[0]), int(indices[-1]) + 1))
    return tuple(box)
