import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.conformal import Conformal, conformal_quantile, group_weights
from pipeline.quality.folds import group_folds

Simulated = tuple[NDArray[np.float64], NDArray[np.float64]]


def simulated(generator: np.random.Generator, count: int) -> Simulated:
    """A feature, and a Dice that falls with it and varies the more, the higher it is."""
    feature = generator.uniform(0, 1, count)
    return feature, np.clip(0.9 - 0.5 * feature + generator.normal(0, 0.02 + 0.1 * feature), 0, 1)


def share_within(interval: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    return float(np.mean((interval[:, 0] <= values) & (values <= interval[:, 1])))


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.5, 5.0),  # ceil(10 * 0.5) = 5th of 9
        (0.45, 6.0),  # ceil(5.5) = 6th
        (0.1, 9.0),  # 10 * 0.9 = 9th, the highest
        (0.09, np.inf),  # ceil(9.1) = 10th, which there is not
    ],
)
def test_the_quantile_is_the_value_of_the_rank_worked_out_by_hand(alpha: float, expected: float) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, 10.0))
    assert conformal_quantile(values, alpha) == expected


@given(st.integers(1, 400), st.integers(1, 99))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_rank_is_the_exact_one_for_every_number_of_cases(count: int, percent: int) -> None:
    rank = -(-(count + 1) * (100 - percent) // 100)  # ceil in whole numbers
    expected = rank if rank <= count else np.inf
    assert conformal_quantile(np.arange(1.0, count + 1), percent / 100) == expected


def test_rows_of_values_are_bounded_each() -> None:
    values = np.array([[1.0, 2.0, 3.0], [30.0, 10.0, 20.0]])
    assert conformal_quantile(values, 0.5).tolist() == [2, 20]


def test_a_group_counts_as_one_case() -> None:
    assert group_weights(np.array([7, 7, 8])).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 3])
    weights = group_weights(np.array([7, 7, 8]), np.array([3.0, 1.0, 5.0]))
    assert weights.tolist() == pytest.approx([1 / 4, 1 / 12, 1 / 3])
    # groups (1, 2) and (9): half of the weight, 1/6 + 1/6 + 1/3 = 2/3 in all, is reached at 9
    assert conformal_quantile(np.array([1.0, 2.0, 9.0]), 0.5, group_weights(np.array([7, 7, 8]))) == 9
    assert conformal_quantile(np.array([1.0, 2.0, 9.0]), 0.7, group_weights(np.array([7, 7, 8]))) == 2


def test_split_conformal_adds_the_quantile_of_the_errors() -> None:
    fitted = Conformal.fit(np.full(4, 0.5), np.array([0.4, 0.7, 0.5, 0.8]))  # errors 0.1, 0.2, 0, 0.3
    # alpha 0.4: ceil(5 * 0.6) = 3rd of 4
    np.testing.assert_allclose(fitted.interval(np.array([[0.6], [0.9]]), 0.4), [[0.4, 0.8], [0.7, 1.0]])


def test_errors_count_in_units_of_the_difficulty() -> None:
    difficulty = np.array([0.1, 0.2, 0.1, 0.3])
    fitted = Conformal.fit(np.full(4, 0.5), np.array([0.4, 0.7, 0.5, 0.8]), difficulty=difficulty)
    assert fitted.errors.tolist() == pytest.approx([1, 1, 0, 1])
    found = fitted.interval(np.array([[0.5], [0.5]]), 0.4, np.array([[0.1], [0.4]]))
    np.testing.assert_allclose(found, [[0.4, 0.6], [0.1, 0.9]])


def test_cv_plus_is_the_one_worked_out_by_hand() -> None:
    fitted = Conformal.fit(np.full(4, 0.5), np.array([0.4, 0.7, 0.5, 0.8]), fold_of=np.array([0, 0, 1, 1]))
    # by fold 0: 0.6 -+ 0.1, 0.6 -+ 0.2; by fold 1: 0.7 -+ 0, 0.7 -+ 0.3. Lower ends 0.4, 0.4, 0.5, 0.7, of which the
    # floor(5 * 0.4) = 2nd; upper ends 0.7, 0.7, 0.8, 1, of which the ceil(5 * 0.6) = 3rd
    np.testing.assert_allclose(fitted.interval(np.array([[0.6, 0.7]]), 0.4), [[0.4, 0.8]])


def test_too_few_cases_for_alpha_give_all_that_a_dice_can_be() -> None:
    fitted = Conformal.fit(np.full(8, 0.5), np.full(8, 0.5))
    assert fitted.interval(np.array([[0.5]]), 0.1).tolist() == [[0, 1]]


@pytest.mark.parametrize("alpha", [0.1, 0.3])
@pytest.mark.parametrize("is_normalised", [False, True])
def test_split_intervals_hold_as_many_values_as_they_say(alpha: float, is_normalised: bool) -> None:
    generator = np.random.default_rng(0)
    within = []
    for _ in range(400):
        feature, dice = simulated(generator, 30)
        new, new_dice = simulated(generator, 20)
        difficulty, new_difficulty = (0.02 + 0.1 * x if is_normalised else np.ones_like(x) for x in (feature, new))
        fitted = Conformal.fit(0.9 - 0.5 * feature, dice, difficulty=difficulty)
        found = fitted.interval((0.9 - 0.5 * new)[:, None], alpha, new_difficulty[:, None])
        within.append(share_within(found, new_dice))
    rank = np.ceil(31 * (1 - alpha)) / 31
    assert np.mean(within) == pytest.approx(rank, abs=0.015)  # exactly so for continuous errors, on average


def test_cross_intervals_hold_as_many_values_as_they_say() -> None:
    generator = np.random.default_rng(1)
    within = []
    for _ in range(150):
        feature, dice = simulated(generator, 40)
        new, new_dice = simulated(generator, 20)
        fold_of = group_folds(np.arange(40), 5)
        lines = [np.polyfit(feature[fold_of != fold], dice[fold_of != fold], 1) for fold in range(5)]
        own = np.stack([np.polyval(line, feature) for line in lines], axis=1)[np.arange(40), fold_of]
        fitted = Conformal.fit(own, dice, fold_of=fold_of)
        found = fitted.interval(np.stack([np.polyval(line, new) for line in lines], axis=1), 0.2)
        within.append(share_within(found, new_dice))
    assert np.mean(within) == pytest.approx(0.8, abs=0.03)


def test_rows_that_share_a_case_are_held_only_with_groups() -> None:
    generator = np.random.default_rng(2)
    within: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(600):
        groups = np.repeat(np.arange(12), np.r_[np.ones(11, int), 40])  # one case in 40 versions drowns the others
        errors = np.abs(generator.normal(size=12)) * 0.1
        for is_grouped, shares in within.items():
            fitted = Conformal.fit(np.zeros(51), errors[groups], groups=groups if is_grouped else None)
            shares.append(share_within(fitted.interval(np.zeros((1, 1)), 0.2), np.abs(generator.normal(0, 0.1, 1))))
    assert np.mean(within[True]) >= 0.8 - 0.03
    assert np.mean(within[False]) < 0.7


@given(st.lists(st.floats(0, 1), min_size=4, max_size=30), st.floats(0, 1), st.floats(0.01, 0.49))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_intervals_lie_within_0_and_1_hold_the_prediction_and_grow_with_the_confidence(
    observed: list[float], predicted: float, alpha: float
) -> None:
    fitted = Conformal.fit(np.full(len(observed), 0.5), np.array(observed))
    (narrow,), (wide,) = (fitted.interval(np.array([[predicted]]), risk) for risk in (2 * alpha, alpha))
    assert 0 <= wide[0] <= narrow[0] <= predicted <= narrow[1] <= wide[1] <= 1


def test_arrays_give_back_what_was_fitted() -> None:
    fitted = Conformal.fit(np.full(9, 0.5), np.linspace(0, 1, 9), fold_of=np.arange(9) % 3)
    again = Conformal.from_arrays(fitted.to_arrays())
    new = np.array([[0.2, 0.5, 0.6]])
    np.testing.assert_array_equal(again.interval(new, 0.3), fitted.interval(new, 0.3))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DatasetError, match="at least 4 cases"):
        Conformal.fit(np.zeros(3), np.zeros(3))
    with pytest.raises(ModelError, match="NaN or infinity in 1 of 5 rows, first in row 3"):
        Conformal.fit(np.zeros(5), np.array([0, 0, 0, np.nan, 0]))
