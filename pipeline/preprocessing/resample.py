"""Changing the number of voxels along each axis, the extent of the volume kept.

Input and output cover the same extent, edge to edge: output voxel ``j`` of ``m`` lies at input position
``(j + 1/2) n/m - 1/2``. This is the convention of scikit-image's ``resize`` and of nnU-Net.

    input   |   0   |   1   |   2   |        n = 3
    output  |  0  |  1  |  2  |  3  |        m = 4
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Shape = tuple[int, ...]


def target_shape(shape: Shape, spacing_mm: tuple[float, ...], target_mm: tuple[float, ...]) -> Shape:
    """Voxels along each axis that cover the same extent at the target spacing, rounded, at least one."""
    return tuple(max(1, round(n * old / new)) for n, old, new in zip(shape, spacing_mm, target_mm, strict=True))


def coarse_axis(spacing_mm: tuple[float, ...], ratio: float) -> int | None:
    """The axis whose spacing is more than ``ratio`` times the finest one, or None where the volume is near isotropic.

    Between such slices there is nothing to interpolate smoothly; splines would ring across them. Where two axes are
    equally coarse there are no slices, and None as well, as in nnU-Net.
    """
    *_, second, largest = sorted(spacing_mm)
    if largest / min(spacing_mm) <= ratio or np.isclose(second, largest):
        return None
    return int(np.argmax(spacing_mm))


def resample_image(image: NDArray, shape: Shape, *, order: int, coarse: int | None) -> NDArray[np.float32]:
    """Resample every channel with splines.

    Args:
        image: (C, I, J, K).
        shape: wanted spatial shape.
        order: order of the splines.
        coarse: an axis along which the nearest slice is taken instead, after the others were resampled.
    """
    if image.shape[1:] == shape:
        return image.astype(np.float32, copy=False)
    if coarse is None:
        return np.stack([_zoom(channel, shape, order) for channel in image])
    in_plane = tuple(image.shape[1 + axis] if axis == coarse else n for axis, n in enumerate(shape))
    return np.stack([_zoom(_zoom_slices(channel, in_plane, order, axis=coarse), shape, 0) for channel in image])


def resample_labels(labels: NDArray[np.unsignedinteger], shape: Shape, coarse: int | None) -> NDArray:
    """Resample a label map (I, J, K): each label's indicator linearly, and the largest wins.

    The nearest voxel alone would leave staircases; averaging label numbers would invent labels.
    """
    if labels.shape == shape:
        return labels
    result, highest = np.zeros(shape, labels.dtype), np.full(shape, -1.0, np.float32)
    for value in np.unique(labels):
        share = resample_image((labels == value)[None].astype(np.float32), shape, order=1, coarse=coarse)[0]
        _keep_larger(result, highest, share, value=value)
    return result


def _keep_larger(result: NDArray, highest: NDArray, score: NDArray, *, value: int) -> None:
    larger = score > highest
    result[larger] = value
    highest[larger] = score[larger]


def _zoom(volume: NDArray, shape: Shape, order: int) -> NDArray[np.float32]:
    factors = [m / n for m, n in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume.astype(np.float32), factors, order=order, mode="nearest", grid_mode=True)


def _zoom_slices(volume: NDArray, shape: Shape, order: int, *, axis: int) -> NDArray[np.float32]:
    in_plane = tuple(n for other, n in enumerate(shape) if other != axis)
    return np.stack([_zoom(plane, in_plane, order) for plane in np.moveaxis(volume, axis, 0)], axis)
