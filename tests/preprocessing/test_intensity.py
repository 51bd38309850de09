import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.preprocessing.fitted import ClipNormalisation, ScanNormalisation
from pipeline.preprocessing.intensity import normalise

CT = ClipNormalisation(low=-100.0, high=200.0, mean=50.0, std=25.0)


def line(*values: float, kind: type = np.float32) -> NDArray:
    return np.array(values, kind).reshape(-1, 1, 1)


def test_ct_is_clipped_shifted_and_divided() -> None:
    # -1000 -> -100, (-100 - 50)/25 = -6; (75 - 50)/25 = 1; 3000 -> 200, (200 - 50)/25 = 6
    result = normalise(line(-1000, 50, 75, 3000, kind=np.int16), CT)
    assert result.dtype == np.float32
    assert result.ravel().tolist() == [-6.0, 0.0, 1.0, 6.0]


def test_a_scan_is_normalised_with_its_own_mean_and_deviation() -> None:
    # mean 4, deviation sqrt((9 + 1 + 1 + 9)/4) = sqrt(5)
    result = normalise(line(1, 3, 5, 7), ScanNormalisation())
    np.testing.assert_allclose(result.ravel(), np.array([-3, -1, 1, 3]) / np.sqrt(5), rtol=1e-6)


def test_zeros_can_be_left_out_and_stay_zero() -> None:
    # of 2, 6: mean 4, deviation 2
    result = normalise(line(0, 2, 6, 0), ScanNormalisation(nonzero_only=True))
    assert result.ravel().tolist() == [0.0, -1.0, 1.0, 0.0]


@pytest.mark.parametrize("nonzero_only", [False, True])
@pytest.mark.parametrize("value", [0.0, 7.0, 12345.678])
def test_a_scan_without_contrast_becomes_zero(value: float, nonzero_only: bool) -> None:
    result = normalise(np.full((4, 5, 6), value, np.float32), ScanNormalisation(nonzero_only=nonzero_only))
    assert result.dtype == np.float32
    assert not result.any()


def test_large_volumes_far_from_zero_keep_their_mean() -> None:
    # sums of a million numbers near 30000 lose digits in 32 bits
    values = np.random.default_rng(0).normal(30_000, 1, (100, 100, 100)).astype(np.float32)
    result = normalise(values, ScanNormalisation())
    assert abs(result.mean(dtype=np.float64)) < 1e-3
    assert result.std(dtype=np.float64) == pytest.approx(1.0, abs=1e-3)
