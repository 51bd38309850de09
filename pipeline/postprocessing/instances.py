"""From a mask to the instances (cells, nuclei) in it, also where they touch: the watershed of border distances."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config.inference import InferenceConfig, WatershedConfig
from pipeline.postprocessing.components import check_names, face_neighbours

Index = tuple[int, ...]


def watershed_instances(
    mask: NDArray[np.bool_],
    config: WatershedConfig,
    *,
    spacing: tuple[float, ...],
    per_slice: bool,
) -> NDArray[np.int32]:
    """Divide a mask where it is narrow, so that round things that touch are one instance each.

    The classical way (Beucher and Lantuejoul 1979, Vincent and Soille 1991): of every voxel the distance to the nearest
    voxel outside the mask is taken; its peaks are the middles of instances; and these grow downhill until they meet. A
    peak counts where it rises by more than ``peak_depth_mm`` above the way to a higher one (the h-maxima of Soille,
    "Morphological image analysis", 2003), because the grid makes small peaks of its own along any slanted border, and
    where no higher one is within ``peak_distance_mm``. Nothing is drawn by chance: the same mask is always divided in
    the same way.

    Args:
        mask: boolean, (I, J) or (I, J, K). What lies beyond the array is not outside: a cell that the border of an
            image cuts is widest there.
        config: where a peak counts.
        spacing: distance between voxel centres along each axis, in the unit of both settings: mm, or 1 for pixels.
        per_slice: whether K only stacks images, each of which is divided by itself.

    Returns:
        Numbers 1, 2, ...: every voxel of the mask is in one instance, whose voxels are connected by their faces, and
        all else is 0. A connected part without a peak that counts is one instance.

    Example:
        >>> config = WatershedConfig(labels=("nuclei",), peak_distance_mm=2, peak_depth_mm=0.75)
        >>> bars = np.ones((3, 11), bool)
        >>> bars[[0, 2], 5] = False  # 3 pixels wide, but for one pixel in the middle
        >>> int(watershed_instances(np.pad(bars, 1), config, spacing=(1.0, 1.0), per_slice=False).max())
        2
    """
    if mask.ndim == 3 and per_slice:
        return _slice_by_slice(mask, config, spacing=spacing)
    if mask.all() or not mask.any():  # nothing outside, so there is no distance to it; or nothing to divide
        return mask.astype(np.int32)
    from skimage.segmentation import watershed  # takes a third of a second, and few models divide instances

    distance = ndimage.distance_transform_edt(mask, sampling=spacing)
    markers = _markers(mask, distance, config, spacing=spacing)
    neighbours = face_neighbours(mask.ndim, per_slice=False)
    return np.asarray(watershed(-distance, markers, connectivity=neighbours, mask=mask), dtype=np.int32)


def check_watershed(config: InferenceConfig, labels: Mapping[str, int]) -> None:
    """Make sure that what `inference.watershed` names are labels.

    Raises:
        ConfigError: some are not.
    """
    if config.watershed is not None:
        check_names("inference.watershed.labels", config.watershed.labels, labels)


def _slice_by_slice(
    mask: NDArray[np.bool_],
    config: WatershedConfig,
    *,
    spacing: tuple[float, ...],
) -> NDArray[np.int32]:
    instances, count = np.zeros(mask.shape, np.int32), 0
    for index in range(mask.shape[2]):
        inside = mask[:, :, index]
        found = watershed_instances(inside, config, spacing=spacing[:2], per_slice=False)
        instances[:, :, index][inside] = found[inside] + count
        count += int(found.max(initial=0))
    return instances


def _markers(
    mask: NDArray[np.bool_], distance: NDArray[np.float64], config: WatershedConfig, *, spacing: tuple[float, ...]
) -> NDArray[np.int32]:
    """The highest voxel of each peak that counts, numbered; 0 elsewhere.

    Each connected part is looked at by itself: a larger neighbour must not hide its peaks. An instance that grows from
    a single voxel is connected.
    """
    parts, _ = ndimage.label(mask, face_neighbours(mask.ndim, per_slice=False))
    markers, count = np.zeros(mask.shape, np.int32), 0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        heights = np.where(parts[box] == number, distance[box], 0)
        for middle in _apart(_peaks(heights, config.peak_depth_mm), config.peak_distance_mm, spacing):
            count += 1
            markers[box][middle] = count
    return markers


def _peaks(heights: NDArray[np.float64], depth: float) -> list[Index]:
    """The highest voxel of each peak that rises by more than ``depth`` above the way to a higher one; highest first.

    All peaks are cut off by ``depth``, and whatever is lower between them is filled up as far as its surroundings allow
    (reconstruction by dilation): a peak that rises less runs over into a higher one and is none any more. Of voxels of
    one height, the first in memory counts as the higher one.
    """
    if heights.max() - heights[heights > 0].min() <= depth:  # no way is that much lower: so it is with most specks
        return [tuple(ndimage.maximum_position(heights))]
    from skimage.morphology import local_maxima, reconstruction

    touching = np.ones((3,) * heights.ndim, dtype=bool)  # a slanted ridge is connected by corners
    ground = np.pad(heights, 1)  # with a plain around it even a plateau that fills the array is a peak
    cut = reconstruction(np.maximum(ground - depth, 0), ground, method="dilation", footprint=touching)
    peaks, count = ndimage.label(local_maxima(cut, footprint=touching) & (cut > 0), touching)
    inner = peaks[(slice(1, -1),) * heights.ndim]
    tops = [tuple(place) for place in ndimage.maximum_position(heights, inner, range(1, count + 1))]
    return sorted(tops, key=lambda top: -heights[top])


def _apart(tops: list[Index], least: float, spacing: tuple[float, ...]) -> list[Index]:
    """Those of the peaks, the highest first, that have no higher one of them nearer than ``least``."""
    kept: list[Index] = []
    for top in tops:
        if all(np.linalg.norm(np.subtract(top, other) * spacing) >= least for other in kept):
            kept.append(top)
    return kept
