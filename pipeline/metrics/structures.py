"""What a mask says about each structure: volume, place, intensity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.scan import Scan

ABSENT = "the structure was not found in this scan"
SEVERAL_CHANNELS = "the scan has several channels"


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
    voxels, image = np.argwhere(inside), scan.array
    if len(voxels) == 0:
        unknown = dict.fromkeys(("centroid_mm", "bbox_voxels", "mean_intensity", "touches_border"))
        return {"volume_ml": 0.0, "voxels": 0, **unknown, "reason": ABSENT}
    first, last = voxels.min(0), voxels.max(0)
    statistics: dict[str, Any] = {
        "volume_ml": len(voxels) * geometry.voxel_volume_ml(scan.affine),
        "voxels": len(voxels),
        "centroid_mm": [float(mm) for mm in (scan.affine @ [*voxels.mean(0), 1.0])[:3]],
        "bbox_voxels": [[int(a), int(b)] for a, b in zip(first, last, strict=True)],
        "mean_intensity": float(image[0][inside].mean(dtype=np.float64)) if len(image) == 1 else None,
        "touches_border": bool((first == 0).any() or (last == np.array(inside.shape) - 1).any()),
    }
    return statistics if len(image) == 1 else statistics | {"reason": SEVERAL_CHANNELS}
