import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.features import LEAST_CASES, Scale, enough, finite

ROWS = np.array([[0.0, 10.0], [2.0, 10.0], [0.0, 10.0], [2.0, 10.0]])


def test_features_are_put_into_deviations_from_their_mean() -> None:
    scale = Scale.fit(np.array([[0.0, 10.0], [2.0, 14.0], [0.0, 10.0], [2.0, 14.0]]))  # 1 -+ 1 and 12 -+ 2
    assert (scale.mean.tolist(), scale.deviation.tolist()) == ([1, 12], [1, 2])
    assert scale.apply(np.array([[3.0, 8.0]])).tolist() == [[2, -2]]


def test_a_constant_feature_has_the_deviation_of_the_others() -> None:
    scale = Scale.fit(ROWS * 3)
    assert scale.deviation.tolist() == [3, 3]
    assert scale.apply(np.array([[3.0, 36.0]])).tolist() == [[0, 2]]


def test_a_feature_that_varies_by_rounding_is_constant() -> None:
    noisy = ROWS * [1.0, 1 / 3] + [[0.0, 0.0], [0.0, 1e-15], [0.0, 0.0], [0.0, -1e-15]]
    assert Scale.fit(noisy).deviation.tolist() == [1, 1]


@given(arrays(np.float64, (6, 3), elements=st.floats(-1e3, 1e3)))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_standardised_training_cases_have_a_mean_of_0_and_deviations_of_1(rows: np.ndarray) -> None:
    rows[0] = rows[1] + [1.0, 2.0, 3.0]
    found = Scale.fit(rows).apply(rows)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-6)


def test_cases_that_are_all_alike_are_refused() -> None:
    with pytest.raises(DatasetError, match="features that differ between cases; found 5 cases that are all alike"):
        Scale.fit(np.full((5, 3), 0.1))


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(DatasetError, match="at least 4 cases to fit to; found 3"):
        enough(np.zeros((LEAST_CASES - 1, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_without_a_number_is_named(bad: float) -> None:
    rows = ROWS.copy()
    rows[2, 1] = bad
    with pytest.raises(ModelError, match="NaN or infinity in 1 of 4 rows, first in row 2"):
        finite(rows)
    with pytest.raises(ModelError, match="first in row 2"):
        Scale.fit(ROWS).apply(rows)


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(ModelError, match=r"2 features of a case; found an array of shape \(1, 3\)"):
        Scale.fit(ROWS).apply(np.zeros((1, 3)))
