import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from pipeline.errors import DatasetError
from pipeline.quality.folds import Scorer, cross_fitted, group_folds


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(2, 8), st.integers(0, 5))
@settings(deadline=None, derandomize=True, max_examples=80)
def test_a_group_lies_in_one_fold_and_folds_have_as_many_groups_as_can_be(
    groups: list[int], folds: int, seed: int
) -> None:
    names = sorted(set(groups))
    if len(names) < 2:
        return
    found = group_folds(np.array(groups), folds, seed=seed)
    fold_by_name = {
        name: {int(fold) for fold, group in zip(found, groups, strict=True) if group == name} for name in names
    }
    assert all(len(held) == 1 for held in fold_by_name.values())
    sizes = np.bincount([held.pop() for held in fold_by_name.values()])
    assert len(sizes) == min(folds, len(names))
    assert sizes.max() - sizes.min() <= 1


def test_as_many_folds_as_cases_leave_one_out() -> None:
    assert sorted(group_folds(np.array(["a", "b", "c"]), 10)) == [0, 1, 2]


def test_the_seed_decides_the_folds() -> None:
    groups = np.arange(30)
    assert group_folds(groups, 5, seed=1).tolist() == group_folds(groups, 5, seed=1).tolist()
    assert group_folds(groups, 5, seed=1).tolist() != group_folds(groups, 5, seed=2).tolist()


def test_one_group_is_refused() -> None:
    with pytest.raises(DatasetError, match="at least two groups"):
        group_folds(np.array([3, 3, 3]), 5)


def test_each_row_is_scored_by_what_was_fitted_without_its_fold() -> None:
    rows, fold_of = np.array([1.0, 10.0, 100.0, 1000.0]), np.array([1, 0, 1, 0])

    def fit(kept: np.ndarray) -> Scorer:
        return lambda left: left + rows[kept].sum()

    assert cross_fitted(fit, rows, fold_of).tolist() == [1011, 111, 1110, 1101]


def test_out_of_fold_predictions_are_sklearns() -> None:
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(30, 4)), generator.normal(size=30)
    fold_of = group_folds(np.arange(30) // 2, 4)

    def fit(kept: np.ndarray) -> Scorer:
        return LinearRegression().fit(features[kept], target[kept]).predict

    expected = cross_val_predict(LinearRegression(), features, target, cv=PredefinedSplit(fold_of))
    np.testing.assert_allclose(cross_fitted(fit, features, fold_of), expected)
