import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.scan import Scan

ARRAY = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
AFFINE = np.diag([0.5, 1.0, 2.0, 1.0])


def scan_of(array: np.ndarray, affine: np.ndarray = AFFINE) -> Scan:
    return Scan(array.copy(), affine.copy(), Path("scan.nii.gz"))


def test_a_scan_knows_its_channels_shape_and_spacing() -> None:
    scan = scan_of(ARRAY)
    assert (scan.channels, scan.shape, scan.spacing_mm) == (2, (3, 4, 5), (0.5, 1.0, 2.0))


def test_a_scan_cannot_be_changed() -> None:
    scan = scan_of(ARRAY)
    with pytest.raises(ValueError, match="read-only"):
        scan.array[0, 0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        scan.affine[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError, match="source"):
        scan.source = Path("other.nii")  # type: ignore[misc]


def test_an_array_without_a_channel_axis_is_a_fault_of_the_program() -> None:
    with pytest.raises(AssertionError, match=r"\(3, 4, 5\)"):
        scan_of(ARRAY[0])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float32, np.float64, ">i2", ">f8"])
def test_the_content_hash_does_not_depend_on_the_number_type(dtype: str) -> None:
    assert scan_of(ARRAY.astype(dtype)).content_hash() == scan_of(ARRAY).content_hash()


def test_the_content_hash_is_the_same_tomorrow_and_on_other_machines() -> None:
    # SHA-256 of the shape, "(1, 1, 1, 2)", then of 1 and 2 as little-endian float32: 00 00 80 3f, 00 00 00 40
    scan = scan_of(np.array([[[[1, 2]]]]))
    assert scan.content_hash() == "a75dac4f70372587ec1fc20073a5e9608117c612fa1b4b741a04d4b80074c76c"


def test_the_content_hash_counts_zero_and_minus_zero_as_one_number() -> None:
    assert scan_of(np.float32(-0.0) * ARRAY).content_hash() == scan_of(0 * ARRAY).content_hash()


def test_the_content_hash_of_values_beyond_float32_is_taken_without_a_warning() -> None:
    assert scan_of(np.full((1, 2, 2, 2), 1e300)).content_hash() == scan_of(np.full((1, 2, 2, 2), np.inf)).content_hash()


@pytest.mark.parametrize(
    "other",
    [ARRAY + 1, ARRAY[:, ::-1], ARRAY.reshape(2, 4, 3, 5), ARRAY.transpose(0, 2, 1, 3), ARRAY[:1]],
    ids=["values", "a flip", "shape", "axes", "channels"],
)
def test_the_content_hash_tells_other_contents_apart(other: np.ndarray) -> None:
    assert scan_of(other).content_hash() != scan_of(ARRAY).content_hash()
