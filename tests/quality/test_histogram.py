import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.histogram import LEVELS, HistogramNeighbours, quantiles_of, wasserstein

VALUES = arrays(np.float64, (2, 9), elements=st.floats(-100, 100))


def scans(count: int, seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Quantiles of scans of two channels, the second on a scale a thousand times larger."""
    generator = np.random.default_rng(seed)
    arrays = generator.normal(generator.normal(size=(count, 1, 1, 1, 1)), 2.0, (count, 2, 8, 8, 8))
    return np.array([quantiles_of((array + shift) * np.array([1.0, 1000.0]).reshape(2, 1, 1, 1)) for array in arrays])


def test_the_quantiles_of_a_ramp_are_its_levels() -> None:
    ramp = np.arange(1001, dtype=np.int16).reshape(1, 7, 11, 13)
    found = quantiles_of(np.concatenate([ramp, ramp + 100]))
    assert found.shape == (2, 33)
    np.testing.assert_allclose(found[0], 1000 * LEVELS)
    np.testing.assert_allclose(found[1], 1000 * LEVELS + 100)


@pytest.mark.parametrize("array", [np.full((1, 1, 1, 1), 3.0), np.arange(60).reshape(1, 3, 4, 5)], ids=["one", "whole"])
def test_quantiles_are_those_of_numpy(array: NDArray) -> None:
    for values in (array, np.random.default_rng(0).normal(size=(2, 7, 8, 9)).astype(np.float32)):
        expected = np.quantile(values.reshape(len(values), -1).astype(np.float64), LEVELS, axis=1).T
        np.testing.assert_allclose(quantiles_of(values), expected, rtol=1e-12)


def test_the_quantiles_of_a_large_scan_are_those_of_a_part_of_its_voxels() -> None:
    large = np.broadcast_to(np.array([0, 10, 20, 30], np.int16), (1, 1000, 1000, 4))
    assert np.unique(quantiles_of(large)).tolist() == [0, 10, 15, 20, 30]  # the median lies between two slices


@pytest.mark.parametrize(
    ("other", "expected"), [([0.0, 1.0, 2.0], 0.0), ([1.0, 2.0, 3.0], 1.0), ([0.0, 1.0, 5.0], 1.0)]
)
def test_the_distance_is_how_far_voxels_have_to_be_moved(other: list[float], expected: float) -> None:
    assert wasserstein(np.array([0.0, 1.0, 2.0]), np.array(other)) == expected


@given(VALUES)
@settings(deadline=None, derandomize=True, max_examples=50)
def test_the_distance_of_sorted_values_is_scipys(pair: NDArray[np.float64]) -> None:
    first, second = np.sort(pair)
    assert wasserstein(first, second) == pytest.approx(wasserstein_distance(first, second), abs=1e-9)


def test_the_distance_of_quantiles_is_near_that_of_all_intensities() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, (1, 20, 20, 20)), generator.normal(0.5, 2, (1, 20, 20, 20))
    expected = wasserstein_distance(first.ravel(), second.ravel())
    assert wasserstein(quantiles_of(first), quantiles_of(second)).item() == pytest.approx(expected, rel=0.05)


def test_the_score_is_the_distance_to_the_nearest_scans_in_units_of_that_between_two() -> None:
    training = np.array([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1) + np.zeros((4, 1, 33))
    fitted = HistogramNeighbours.fit(training, neighbours=2)
    assert fitted.unit.tolist() == [1.5]  # of 1, 2, 3, 1, 2, 1
    assert fitted.scores(np.full((1, 1, 33), 5.0)).tolist() == [[pytest.approx(2.5 / 1.5)]]  # 2 from 3 and 3 from 2


def test_channels_of_different_scales_count_alike() -> None:
    fitted = HistogramNeighbours.fit(scans(20, seed=0))
    shifted = scans(1, seed=1)
    first, second = shifted.copy(), shifted.copy()
    first[:, 0] += 50
    second[:, 1] += 50_000
    assert fitted.scores(first).item() == pytest.approx(fitted.scores(second).item(), rel=0.1)


def test_a_foreign_scan_is_further_than_any_other() -> None:
    fitted = HistogramNeighbours.fit(scans(20, seed=0))
    assert fitted.scores(scans(10, seed=1, shift=9.0)).min() > fitted.scores(scans(10, seed=2)).max()


def test_a_channel_that_never_varied_counts_in_units_of_intensity() -> None:
    training = np.zeros((5, 1, 33))
    fitted = HistogramNeighbours.fit(training)
    assert fitted.unit.tolist() == [1]
    assert fitted.scores(np.full((1, 1, 33), 3.0)).tolist() == [[3]]


def test_arrays_give_back_what_was_fitted() -> None:
    fitted, new = HistogramNeighbours.fit(scans(6, seed=0)), scans(2, seed=1)
    again = HistogramNeighbours.from_arrays(fitted.to_arrays())
    np.testing.assert_array_equal(again.scores(new), fitted.scores(new))


def test_what_cannot_be_fitted_or_scored_is_refused() -> None:
    with pytest.raises(DatasetError, match="at least 4 cases"):
        HistogramNeighbours.fit(scans(3, seed=0))
    with pytest.raises(ModelError, match="NaN or infinity"):
        HistogramNeighbours.fit(np.full((6, 1, 33), np.nan))
    with pytest.raises(
        ModelError, match=r"quantiles of shape \(2, 33\) of a scan; found an array of shape \(1, 1, 33\)"
    ):
        HistogramNeighbours.fit(scans(6, seed=0)).scores(np.zeros((1, 1, 33)))
