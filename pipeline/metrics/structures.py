"""What a mask says about each structure: volume, place, intensity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.scan import Scan

ABSENT = "the structure was not found in this scan"
SEVERAL_CHANNELS = "the scan has several channels"
NO_SPACING = "the scan has no spacing"


def describe_structures(
    mask: NDArray[np.unsignedinteger], scan: Scan, labels: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Statistics of each label.

    Args:
        mask: label values (I, J, K).
        scan: the scan that it was drawn on.
        labels: name and value of each structure.

    Returns:
        By name: ``volume_ml``, ``voxels``, ``centroid_mm`` (RAS), ``bbox_voxels`` (first and last index of each axis),
        ``mean_intensity``, ``touches_border``; a value that cannot be given is null, with a ``reason``.
    """
    return {name: _describe(mask == value, scan) for name, value in labels.items()}


def _describe(inside: NDArray[np.bool_], scan: Scan) -> dict[str, Any]:
    voxels, image, in_mm = np.argwhere(inside), scan.array, scan.unit == "mm"
    volume_ml = len(voxels) * geometry.voxel_volume_ml(scan.affine) if in_mm else None
    if len(voxels) == 0:
        unknown = dict.fromkeys(("centroid_mm", "bbox_voxels", "mean_intensity", "touches_border"))
        return {"volume_ml": volume_ml, "voxels": 0, **unknown, "reason": _reasons([ABSENT], scan)}
    first, last = voxels.min(0), voxels.max(0)
    reasons = _reasons([SEVERAL_CHANNELS] if len(image) > 1 else [], scan)
    return {
        "volume_ml": volume_ml,
        "voxels": len(voxels),
        "centroid_mm": [float(mm) for mm in (scan.affine @ [*voxels.mean(0), 1.0])[:3]] if in_mm else None,
        "bbox_voxels": [[int(a), int(b)] for a, b in zip(first, last, strict=True)],
        "mean_intensity": float(image[0][inside].mean(dtype=np.float64)) if len(image) == 1 else None,
        "touches_border": _touches_border(first, last, scan),
        **({"reason": reasons} if reasons else {}),
    }


def _reasons(reasons: list[str], scan: Scan) -> str:
    return "; ".join([*reasons, *([NO_SPACING] if scan.unit == "px" else [])])


def _touches_border(first: NDArray[np.int_], last: NDArray[np.int_], scan: Scan) -> bool:
    """Whether the first or last index reaches the edge of the scan; a picture has none above or below it."""
    axes = [axis for axis, size in enumerate(scan.shape) if size > 1 or scan.unit == "mm"]
    return any(first[axis] == 0 or last[axis] == scan.shape[axis] - 1 for axis in axes)
