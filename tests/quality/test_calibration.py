import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy import stats

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.calibration import DECILE, FREEDOM, LEAST_SPREAD, QUARTILE, Gate, Tails, combined


def raw_scores(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Three scores of scans: two that hang together, and one with a heavy tail."""
    common = generator.normal(size=count)
    second = common + 0.3 * generator.normal(size=count)
    return np.exp(np.stack([common, second, generator.standard_t(2, count)], axis=1))


def test_the_constants_are_students() -> None:
    assert pytest.approx(stats.t.ppf(0.75, FREEDOM), abs=1e-6) == QUARTILE
    assert pytest.approx(stats.t.ppf(0.9, FREEDOM), abs=1e-6) == DECILE


def test_the_oddness_is_the_one_worked_out_by_hand() -> None:
    # logarithms -2, -1, 0, 1, 2: median 0, median absolute deviation 1; the upper decile 1.6 says 1.6 / 1.533 = 1.04
    scores = np.exp(np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]]))
    tails = Tails.fit(scores)
    assert (tails.centre.item(), tails.spread.item()) == pytest.approx((0, 1 / QUARTILE))
    found = tails.oddness(np.exp([[0.0], [1.0], [1.533206 / QUARTILE]]))
    assert found.ravel().tolist() == pytest.approx([-np.log10(0.5), -np.log10(0.25), 1.0], abs=1e-5)


def test_the_upper_side_decides_where_it_is_the_wider_one() -> None:
    logarithms = np.r_[np.full(8, -0.01), np.zeros(4), np.linspace(0, 3, 9)]
    tails = Tails.fit(np.exp(logarithms)[:, None])
    assert tails.spread.item() == pytest.approx((np.quantile(logarithms, 0.9) - np.median(logarithms)) / DECILE)


def test_a_two_sided_score_is_odd_where_it_is_low_as_well() -> None:
    logarithms = np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
    tails = Tails.fit(np.exp(logarithms), np.array([True]))
    found = tails.oddness(np.exp([[-1.0], [0.0], [1.0], [-1.533206 / QUARTILE]])).ravel()
    assert found.tolist() == pytest.approx([-np.log10(0.5), 0.0, -np.log10(0.5), -np.log10(0.2)], abs=1e-5)
    assert Tails.fit(np.exp(logarithms)).oddness(np.exp([[-9.0]])).item() < np.log10(2)


def test_each_side_has_its_own_spread() -> None:
    logarithms = np.r_[np.linspace(-3, 0, 9), np.zeros(4), np.full(8, 0.01)]
    tails = Tails.fit(np.exp(np.stack([logarithms, logarithms], axis=1)), np.array([True, False]))
    expected = (np.median(logarithms) - np.quantile(logarithms, 0.1)) / DECILE
    assert tails.spread_below.tolist() == pytest.approx([expected, np.inf])
    assert (tails.spread < expected / 2).all()


def test_tails_of_a_version_without_a_lower_side_are_one_sided() -> None:
    kept = Tails.fit(np.exp(np.linspace(-1, 1, 9))[:, None]).to_arrays()
    kept.pop("spread_below")
    assert Tails.from_arrays(kept).spread_below.tolist() == [np.inf]
    with pytest.raises(ModelError, match="an array 'floor'"):
        Tails.from_arrays({})


def test_a_few_foreign_scans_among_many_hardly_alter_the_tails() -> None:
    scores = raw_scores(np.random.default_rng(0), 100)
    spoilt = scores.copy()
    spoilt[:3] = 1e6
    np.testing.assert_allclose(Tails.fit(spoilt).spread, Tails.fit(scores).spread, rtol=0.2)


def test_a_score_that_never_varied_is_odd_from_a_clear_difference_on() -> None:
    tails = Tails.fit(np.full((20, 1), 3.0))
    assert tails.spread.item() == LEAST_SPREAD
    found = tails.oddness(np.array([[3.0], [3.03], [6.0]])).ravel()
    assert found[1] < 0.5
    assert found[2] > 3


def test_a_score_that_was_always_0_is_odd_from_1_on() -> None:
    found = Tails.fit(np.zeros((20, 1))).oddness(np.array([[0.0], [0.9], [5.0]])).ravel()
    assert found[0] == found[1] == pytest.approx(np.log10(2))
    assert found[2] > 3


@pytest.mark.parametrize(
    ("oddness", "expected"),
    [
        ([2.0, 2.0, 2.0], 2.0),
        ([6.0, 0.0, 0.0], np.log10((1e6 + 2) / 3)),
        ([1.0, 2.0], np.log10((10 + 100) / 2)),
    ],
)
def test_several_probabilities_become_their_harmonic_mean(oddness: list[float], expected: float) -> None:
    assert combined(np.array([oddness])).item() == pytest.approx(expected)
    assert combined(np.array([oddness])).item() == pytest.approx(-np.log10(stats.hmean(10 ** -np.array(oddness))))


@given(arrays(np.float64, (4, 5), elements=st.floats(0, 15)))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_a_scan_that_is_odd_in_one_score_is_odd(oddness: NDArray[np.float64]) -> None:
    found, highest = combined(oddness), oddness.max(axis=1)
    assert (found <= highest + 1e-9).all()
    assert (found >= highest - np.log10(5) - 1e-9).all()


@given(st.integers(0, 2), st.floats(1.01, 100), st.integers(0, 50))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_the_gate_score_rises_with_every_score(column: int, factor: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    gate, new = Gate.fit(raw_scores(generator, 20), 0.1), raw_scores(generator, 5)
    higher = new.copy()
    higher[:, column] *= factor
    assert (gate.gate_score(higher) >= gate.gate_score(new)).all()


@pytest.mark.parametrize("count", [20, 60])
def test_new_scans_of_the_same_kind_are_foreign_as_rarely_as_stated(count: int) -> None:
    generator = np.random.default_rng(count)
    alarms = [Gate.fit(raw_scores(generator, count), 0.1).is_foreign(raw_scores(generator, 50)) for _ in range(150)]
    assert np.mean(alarms) == pytest.approx(1 - np.ceil((count + 1) * 0.9) / (count + 1), abs=0.02)


def test_foreign_scans_are_found_in_whichever_score_they_are_odd() -> None:
    gate = Gate.fit(raw_scores(np.random.default_rng(0), 60), 0.05)
    for column in range(3):
        odd = np.ones((1, 3))
        odd[0, column] = 1e6
        assert gate.is_foreign(odd).item()
    assert not gate.is_foreign(np.ones((1, 3))).item()


def test_too_few_scans_for_the_rate_give_the_highest_score_and_the_rate_that_it_is_good_for() -> None:
    generator = np.random.default_rng(0)
    gate = Gate.fit(raw_scores(generator, 8), 0.05)
    assert gate.false_alarm_rate == pytest.approx(1 / 9)
    assert Gate.fit(raw_scores(generator, 19), 0.05).false_alarm_rate == 0.05  # ceil(20 * 0.95) = 19
    assert Gate.fit(raw_scores(generator, 18), 0.05).false_alarm_rate == pytest.approx(1 / 19)
    alarms = [Gate.fit(raw_scores(generator, 8), 0.05).is_foreign(raw_scores(generator, 50)) for _ in range(150)]
    assert 0.04 < np.mean(alarms) < 1 / 9 + 0.01  # left out one at a time, 8 score a little higher than new ones


def test_scans_of_one_patient_count_as_one() -> None:
    scores = np.repeat(raw_scores(np.random.default_rng(0), 10), 5, axis=0)
    assert Gate.fit(scores, 0.05).false_alarm_rate == 0.05
    assert Gate.fit(scores, 0.05, np.arange(50) // 5).false_alarm_rate == pytest.approx(1 / 11)


def test_a_site_whose_scans_all_score_higher_gets_a_threshold_of_its_own() -> None:
    generator = np.random.default_rng(0)
    gate, site = Gate.fit(raw_scores(generator, 50), 0.1), 20 * raw_scores(generator, 200)
    assert gate.is_foreign(site).mean() > 0.5
    refitted = gate.refit(site[:30], 0.1)
    assert refitted.is_foreign(site[30:]).mean() < 0.25
    np.testing.assert_array_equal(refitted.gate_score(site), gate.gate_score(site))
    own = np.sort(gate.gate_score(site[:30]))
    assert (refitted.threshold, refitted.false_alarm_rate) == (own[27], 0.1)  # ceil(31 * 0.9) = 28th


def test_a_few_scans_of_a_site_vouch_for_a_low_rate_as_little() -> None:
    generator = np.random.default_rng(0)
    refitted = Gate.fit(raw_scores(generator, 50), 0.1).refit(raw_scores(generator, 5), 0.1)
    assert refitted.false_alarm_rate == pytest.approx(1 / 6)


def test_a_file_gives_back_the_gate() -> None:
    generator = np.random.default_rng(0)
    gate, new = Gate.fit(raw_scores(generator, 20), 0.1), raw_scores(generator, 5)
    again = Gate.from_arrays(load(save(gate.to_arrays())))
    assert (again.threshold, again.false_alarm_rate) == (gate.threshold, gate.false_alarm_rate)
    np.testing.assert_array_equal(again.gate_score(new), gate.gate_score(new))


def test_what_cannot_be_fitted_or_scored_is_refused() -> None:
    scores = raw_scores(np.random.default_rng(0), 20)
    with pytest.raises(DatasetError, match="at least 4 cases"):
        Gate.fit(scores[:3], 0.1)
    with pytest.raises(DatasetError, match="at least 4 cases"):
        Gate.fit(scores, 0.1).refit(scores[:2], 0.1)
    with pytest.raises(ModelError, match="NaN or infinity"):
        Gate.fit(scores * np.array([1, np.nan, 1]), 0.1)
    with pytest.raises(ModelError, match="first in row 0"):
        Gate.fit(scores, 0.1).gate_score(np.array([[1.0, np.inf, 1.0]]))
    with pytest.raises(ModelError, match="3 scores of a scan"):
        Gate.fit(scores, 0.1).gate_score(scores[:, :2])
