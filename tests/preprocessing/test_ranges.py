from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.preprocessing.ranges import Measured, fit_ranges, measure, percentiles_of
from pipeline.scan import Scan, Unit

LABELS = {"organ": 1, "lesion": 3}


def case(
    *parts: tuple[int, tuple[slice, ...]], spacing_mm: float = 10.0, unit: Unit = "mm", offset: int = 0
) -> Measured:
    """A case of 10 x 10 x 10 voxels, of 1 ml each by default, with intensities from 0 to 999 above an offset."""
    labels: NDArray[np.uint8] = np.zeros((10, 10, 10), np.uint8)
    for value, box in parts:
        labels[box] = value
    array = np.arange(1000, dtype=np.int16).reshape(1, 10, 10, 10) + np.int16(offset)
    return measure(Scan(array, np.diag([spacing_mm] * 3 + [1.0]), Path("scan"), unit), labels)


def test_the_ranges_reach_from_the_smallest_to_the_largest_training_case() -> None:
    ranges = fit_ranges(
        [
            case((1, np.s_[1:3, 1:3, 1:3])),  # 8 ml
            case((1, np.s_[0:2, 0:2, 0:5]), (3, np.s_[4:5, 4:5, 4:5])),  # 20 ml at the border, 1 ml
            case((1, np.s_[1:2, 1:2, 1:2]), (1, np.s_[5:6, 5:6, 5:6]), spacing_mm=20.0, offset=100),  # 16 ml in two
        ],
        LABELS,
    )
    organ, lesion = ranges.labels["organ"], ranges.labels["lesion"]
    assert ranges.cases == 3
    assert organ.size == pytest.approx((8.0, 20.0))
    assert organ.parts == 2
    assert (organ.absent_share, organ.border_share) == pytest.approx((0.0, 1 / 3))
    assert lesion.size == pytest.approx((1.0, 1.0))
    assert lesion.parts == 1
    assert (lesion.absent_share, lesion.border_share) == pytest.approx((2 / 3, 0.0))
    assert ranges.spacing_mm == ((10.0, 20.0),) * 3
    (low, median, high) = ranges.intensities[0]
    assert low == pytest.approx((4.995, 104.995))  # 0.5 % of the way from 0 to 999, and 100 above
    assert median == pytest.approx((499.5, 599.5))
    assert high == pytest.approx((994.005, 1094.005))


def test_what_no_training_case_had_has_no_size() -> None:
    ranges = fit_ranges([case()], LABELS)
    assert (ranges.labels["organ"].size, ranges.labels["organ"].absent_share) == (None, 1.0)


def test_sizes_of_pictures_are_in_pixels() -> None:
    ranges = fit_ranges([case((1, np.s_[1:3, 1:3, 1:3]), unit="px")], LABELS)
    assert ranges.labels["organ"].size == (8.0, 8.0)


def test_the_percentiles_of_a_large_scan_are_those_of_a_part_of_its_voxels() -> None:
    values = np.random.default_rng(0).normal(100, 10, (2, 200, 200, 100)).astype(np.float32)
    expected = np.percentile(values.reshape(2, -1), (0.5, 50, 99.5), axis=1).T
    np.testing.assert_allclose(percentiles_of(values), expected, atol=0.2)


def test_the_percentiles_of_a_large_scan_pass_over_no_slice() -> None:
    slices = np.broadcast_to(np.array([0, 10, 20, 30], np.int16), (1, 1000, 1000, 4))  # every 4th voxel is of the first
    assert percentiles_of(slices).tolist() == [[0.0, 15.0, 30.0]]
