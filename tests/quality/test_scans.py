"""All scores of a scan together, on features drawn from known distributions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.quality.scans import Measurements, ScanGate

CASES = 60


def drawn(
    count: int, *, seed: int, brighter: float = 0.0, features: float = 0.0, errors: float | None = 1.0
) -> Measurements:
    """Scans like each other, or brighter, or with other features, or with larger errors."""
    rng = np.random.default_rng(seed)
    levels = np.linspace(0, 1, 33) + rng.normal(0, 0.05, (count, 1, 1)) + brighter
    shifted = rng.normal(0, 1, (count, 20)) + features
    own_errors = np.zeros((count, 0)) if errors is None else errors * rng.lognormal(0, 0.1, (count, 2))
    return Measurements(levels, shifted, own_errors)


def scored(gate: ScanGate, found: Measurements) -> NDArray[np.float64]:
    return gate.gate.gate_score(gate.scores(found))


@pytest.fixture(scope="module")
def gate() -> ScanGate:
    return ScanGate.fit(drawn(CASES, seed=0), 0.05, groups=np.arange(CASES))


def test_scans_like_those_of_the_fit_are_let_through(gate: ScanGate) -> None:
    """At 5 %, but a threshold that 60 scans give may be one of up to 11 % (the quantile of their fourth largest)."""
    assert np.mean(scored(gate, drawn(200, seed=1)) > gate.gate.threshold) <= 0.11


@pytest.mark.parametrize("odd", [{"brighter": 1.0}, {"features": 3.0}, {"errors": 3.0}, {"errors": 0.3}], ids=str)
def test_a_scan_that_is_odd_in_one_score_alone_is_found(gate: ScanGate, odd: dict[str, float]) -> None:
    assert (scored(gate, drawn(20, seed=2, **odd)) > gate.gate.threshold).all()


def test_scores_have_their_names_with_and_without_reconstructions(gate: ScanGate) -> None:
    without = ScanGate.fit(drawn(CASES, seed=0, errors=None), 0.05, groups=np.arange(CASES))
    distances = ("histogram", "mahalanobis", "residual", "neighbours")
    assert gate.names == (*distances, "denoising", "variational")
    assert without.names == distances
    assert without.scores(drawn(3, seed=1, errors=None)).shape == (3, 4)


def test_it_comes_back_from_its_arrays(gate: ScanGate) -> None:
    again, new = ScanGate.from_arrays(gate.to_arrays()), drawn(5, seed=3)
    assert np.array_equal(scored(again, new), scored(gate, new))
    assert again.gate.threshold == gate.gate.threshold


def test_scans_of_one_patient_are_not_scored_by_each_other() -> None:
    """Each scan is there twice: a gate that knew its twin would take new scans for odd."""
    once = drawn(CASES // 2, seed=0)
    twice = Measurements.together([once, once])
    patients = np.tile(np.arange(CASES // 2), 2)
    apart = ScanGate.fit(twice, 0.05, groups=patients)
    new = drawn(200, seed=1)
    assert np.mean(scored(apart, new) > apart.gate.threshold) <= 0.12
    blind = ScanGate.fit(twice, 0.05, groups=np.arange(CASES))
    assert np.mean(scored(blind, new) > blind.gate.threshold) > 0.5


def test_a_handful_of_patients_is_too_few() -> None:
    with pytest.raises(DatasetError, match="at least 8 patients"):
        ScanGate.fit(drawn(20, seed=0), 0.05, groups=np.arange(20) % 7)
