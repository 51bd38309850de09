import numpy as np
import pytest

from pipeline.metrics.intervals import bootstrap_ci95

HUNDRED = np.random.default_rng(7).normal(0.8, 0.1, size=100)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_cases_have_no_interval(count: int) -> None:
    assert bootstrap_ci95(np.ones(count), samples=100, seed=0) is None


def test_equal_cases_have_an_interval_of_no_width() -> None:
    assert bootstrap_ci95(np.full(5, 0.25), samples=100, seed=0) == (0.25, 0.25)


def test_two_cases_give_their_own_values() -> None:
    # Drawing two of {0, 1} gives a mean of 0, 1/2 or 1 with probability 1/4, 1/2, 1/4: both tails are above 2.5 %.
    assert bootstrap_ci95(np.array([0.0, 1.0]), samples=2000, seed=0) == (0.0, 1.0)


def test_a_large_sample_has_the_normal_distributions_interval() -> None:
    half_width = 1.96 * HUNDRED.std() / np.sqrt(100)
    interval = bootstrap_ci95(HUNDRED, samples=5000, seed=0)
    assert interval == pytest.approx((HUNDRED.mean() - half_width, HUNDRED.mean() + half_width), abs=0.1 * half_width)


def test_the_interval_holds_the_middle_95_percent_of_resampled_means() -> None:
    generator = np.random.default_rng(3)
    means = np.sort([generator.choice(HUNDRED, 100).mean() for _ in range(4000)])
    assert bootstrap_ci95(HUNDRED, samples=4000, seed=0) == pytest.approx((means[100], means[3899]), abs=0.003)


def test_the_seed_decides_the_interval() -> None:
    first = bootstrap_ci95(HUNDRED, samples=500, seed=1)
    assert bootstrap_ci95(HUNDRED, samples=500, seed=1) == first
    assert bootstrap_ci95(HUNDRED, samples=500, seed=2) != first
