from pathlib import Path

import numpy as np
import pytest

from pipeline.metrics.structures import describe_structures
from pipeline.scan import Scan, Unit

LABELS = {"cell": 1, "nucleus": 2}
MASK = np.zeros((6, 5, 1), np.uint8)
MASK[2:4, 1:4] = 1


def scan_of(unit: Unit, channels: int = 1) -> Scan:
    array = np.arange(channels * 30, dtype=np.uint8).reshape(channels, 6, 5, 1)
    return Scan(array, np.diag([-1.0, -1, 1, 1]), Path("scan"), unit)


def test_a_picture_has_pixels_and_no_sizes() -> None:
    assert describe_structures(MASK, scan_of("px"), LABELS)["cell"] == {
        "volume_ml": None,
        "voxels": 6,
        "centroid_mm": None,
        "bbox_voxels": [[2, 3], [1, 3], [0, 0]],
        "parts": 1,
        "mean_intensity": 14.5,  # columns 2 and 3, rows 1 to 3: 11, 12, 13, 16, 17, 18
        "touches_border": False,  # there is nothing above or below a picture
        "reason": "the scan has no spacing",
    }


def test_what_is_absent_from_a_picture_has_no_volume_of_0() -> None:
    absent = describe_structures(MASK, scan_of("px"), LABELS)["nucleus"]
    assert (absent["volume_ml"], absent["voxels"]) == (None, 0)
    assert absent["reason"] == "the structure was not found in this scan; the scan has no spacing"


def test_all_reasons_are_given() -> None:
    described = describe_structures(MASK, scan_of("px", channels=3), LABELS)["cell"]
    assert described["mean_intensity"] is None
    assert described["reason"] == "the scan has several channels; the scan has no spacing"


@pytest.mark.parametrize(("unit", "expected"), [("mm", True), ("px", False)])
def test_a_volume_of_one_slice_is_touched_above_and_a_picture_is_not(unit: Unit, expected: bool) -> None:
    described = describe_structures(MASK, scan_of(unit), LABELS)["cell"]
    assert described["touches_border"] is expected
    assert (described["volume_ml"] == pytest.approx(0.006)) is (unit == "mm")


def test_a_picture_is_touched_at_its_sides() -> None:
    mask = np.roll(MASK, 1, axis=1)
    assert describe_structures(mask, scan_of("px"), LABELS)["cell"]["touches_border"] is True


def test_parts_far_apart_are_described_together() -> None:
    array = np.zeros((1, 30, 4, 4), np.float32)
    array[0, 2, 1, 1], array[0, 26, 1, 1] = 10, 40
    mask = (array[0] > 0).astype(np.uint8)
    described = describe_structures(mask, Scan(array, np.diag([-2.0, 1, 1, 1]), Path("scan")), LABELS)["cell"]
    assert (described["voxels"], described["parts"], described["mean_intensity"]) == (2, 2, 25.0)
    assert described["centroid_mm"] == [-28.0, 1.0, 1.0]  # halfway between 2 and 26, each step 2 mm to the left
    assert described["bbox_voxels"] == [[2, 26], [1, 1], [1, 1]]
