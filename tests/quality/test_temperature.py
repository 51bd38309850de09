"""Temperatures, on probabilities whose right one is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from pipeline.errors import DatasetError
from pipeline.quality.temperature import COLDEST, HOTTEST, Reliability, fit_temperature, soften

Drawn = tuple[NDArray[np.float64], NDArray[np.int64]]


def drawn(temperature: float, seed: int = 0, voxels: int = 20_000, classes: int = 3) -> Drawn:
    """Classes drawn by probabilities, and what a network gives whose logits are that many times too large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (classes, voxels))
    right = softmax(logits, axis=0)
    true = (rng.random(voxels) > right.cumsum(axis=0)).sum(axis=0)
    return softmax(temperature * logits, axis=0), np.minimum(true, classes - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoilt_probabilities_is_found_and_mends_them(temperature: float) -> None:
    probabilities, classes = drawn(temperature)
    found = fit_temperature(probabilities, classes)
    assert found == pytest.approx(temperature, rel=0.05)
    before, winners = Reliability.of(probabilities, classes).error, probabilities.argmax(axis=0)
    soften(probabilities, found)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    assert np.array_equal(probabilities.argmax(axis=0), winners)
    after = Reliability.of(probabilities, classes).error
    assert after < 0.015
    assert temperature == 1.0 or after < before / 4


def test_at_1_probabilities_stay_and_certain_ones_stay_certain() -> None:
    certain = np.array([[1.0, 0.25], [0.0, 0.75]], np.float32)
    for temperature in (1.0, 2.0):
        softer = certain.copy()
        soften(softer, temperature)
        assert softer[0, 0] == pytest.approx(1, abs=1e-5)
    soften(certain, 1.0)
    assert certain[:, 1] == pytest.approx([0.25, 0.75])


def test_where_every_voxel_is_right_or_wrong_the_bounds_hold() -> None:
    probabilities = np.array([[0.6] * 50, [0.4] * 50])
    assert fit_temperature(probabilities, np.zeros(50, int)) == pytest.approx(COLDEST, rel=0.05)
    assert fit_temperature(probabilities, np.ones(50, int)) == pytest.approx(HOTTEST, rel=0.05)


def test_without_voxels_there_is_none() -> None:
    with pytest.raises(DatasetError, match="validation"):
        fit_temperature(np.zeros((2, 0)), np.zeros(0, int))


def test_the_reliability_is_that_of_hand_counted_bins() -> None:
    sure = np.array([0.55, 0.55, 0.95, 0.95, 0.95, 1.0])
    found = Reliability.of(np.stack([sure, 1 - sure]), np.array([0, 1, 0, 0, 0, 1]))
    assert found.edges[[0, -1]].tolist() == [0.5, 1.0]
    assert found.share == pytest.approx([0, 2 / 6, 0, 0, 0, 0, 0, 0, 0, 4 / 6])
    assert found.confidence[[1, 9]] == pytest.approx([0.55, 0.9625])
    assert found.accuracy[[1, 9]] == pytest.approx([0.5, 0.75])
    assert found.error == pytest.approx((2 * 0.05 + 4 * 0.2125) / 6)
