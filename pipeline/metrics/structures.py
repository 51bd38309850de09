"""What a mask says about each structure: volume, place, parts, intensity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.scan import Scan
from pipeline.structures import Piece, Structure, structures_in

ABSENT = "the structure was not found in this scan"
SEVERAL_CHANNELS = "the scan has several channels"
NO_SPACING = "the scan has no spacing"
OF_PRESENT = ("centroid_mm", "bbox_voxels", "parts", "mean_intensity", "touches_border")


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
        ``parts`` (connected ones, specks left out), ``mean_intensity``, ``touches_border``; a value that cannot be
        given is null, with a ``reason``.
    """
    known = frozenset(labels.values())
    found = {value: _describe(structure, scan) for value, structure in structures_in(mask) if value in known}
    return {name: found[value] if value in found else _describe_absent(scan) for name, value in labels.items()}


def _describe_absent(scan: Scan) -> dict[str, Any]:
    volume_ml = 0.0 if scan.unit == "mm" else None
    return {"volume_ml": volume_ml, "voxels": 0, **dict.fromkeys(OF_PRESENT), "reason": _reasons([ABSENT], scan)}


def _describe(structure: Structure, scan: Scan) -> dict[str, Any]:
    voxels, in_mm = structure.voxels, scan.unit == "mm"
    reasons = _reasons([SEVERAL_CHANNELS] if scan.channels > 1 else [], scan)
    return {
        "volume_ml": voxels * geometry.voxel_volume_ml(scan.affine) if in_mm else None,
        "voxels": voxels,
        "centroid_mm": _centroid_mm(structure, scan) if in_mm else None,
        "bbox_voxels": [[first, last] for first, last in zip(structure.first, structure.last, strict=True)],
        "parts": structure.parts(),
        "mean_intensity": _mean_intensity(structure, scan) if scan.channels == 1 else None,
        "touches_border": structure.touches_border(scan.shape, scan.unit),
        **({"reason": reasons} if reasons else {}),
    }


def _centroid_mm(structure: Structure, scan: Scan) -> list[float]:
    sums = np.sum([_index_sums(piece) for piece in structure.pieces], axis=0)
    return [float(mm) for mm in (scan.affine @ [*(sums / structure.voxels), 1.0])[:3]]


def _index_sums(piece: Piece) -> list[int]:
    """The sum of its voxels' indices along each axis, from counts of planes, which take no list of all voxels."""
    sums = []
    for axis, where in enumerate(piece.box):
        others = tuple(other for other in range(piece.inside.ndim) if other != axis)
        sums.append(int(np.arange(where.start, where.stop) @ np.count_nonzero(piece.inside, axis=others)))
    return sums


def _mean_intensity(structure: Structure, scan: Scan) -> float:
    sums = [scan.array[0][piece.box][piece.inside].sum(dtype=np.float64) for piece in structure.pieces]
    return float(np.sum(sums)) / structure.voxels


def _reasons(reasons: list[str], scan: Scan) -> str:
    return "; ".join([*reasons, *([NO_SPACING] if scan.unit == "px" else [])])
