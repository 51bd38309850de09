import time
from math import cos, pi

import pytest

from pipeline.config.training import OptimiserConfig
from pipeline.training.schedule import Clock, learning_rate, time_share

SGD = OptimiserConfig(kind="sgd", learning_rate=0.01, warmup_steps=0)
ADAMW = OptimiserConfig(kind="adamw", learning_rate=0.01, warmup_steps=0)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0.01), (0.5, 0.01 * 0.5**0.9), (0.9, 0.01 * 0.1**0.9), (1.0, 0.0)]
)
def test_sgd_decays_as_a_power(share: float, expected: float) -> None:
    assert learning_rate(1000, share, SGD) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0.01), (1 / 3, 0.0075), (0.5, 0.005), (0.9, 0.005 * (1 + cos(0.9 * pi))), (1.0, 0.0)]
)
def test_adamw_decays_along_half_a_cosine(share: float, expected: float) -> None:
    assert learning_rate(1000, share, ADAMW) == pytest.approx(expected)


def test_the_rate_rises_with_the_steps_of_the_warm_up() -> None:
    config = OptimiserConfig(learning_rate=0.01, warmup_steps=4)
    rates = [learning_rate(step, 0.0, config) for step in range(6)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


@pytest.mark.parametrize(
    ("seconds", "setup_seconds", "expected"),
    [(12.0, 0.0, 0.1), (60.0, 0.0, 0.5), (40.0, 40.0, 0.0), (80.0, 40.0, 0.5), (120.0, 40.0, 1.0), (0.0, 120.0, 1.0)],
)
def test_the_time_to_train_in_begins_after_the_set_up(seconds: float, setup_seconds: float, expected: float) -> None:
    assert time_share(seconds=seconds, setup_seconds=setup_seconds, max_minutes=2) == pytest.approx(expected)


def test_a_clock_goes_on_from_the_seconds_before() -> None:
    clock = Clock(before=100.0, started=time.monotonic() - 5.0)
    assert clock.seconds == pytest.approx(105.0, abs=0.5)
    assert Clock.start(7.0).seconds == pytest.approx(7.0, abs=0.5)


def test_a_run_goes_on_from_the_seconds_of_its_checkpoint_and_keeps_those_of_its_own_start() -> None:
    clock = Clock(before=0.0, started=time.monotonic() - 5.0)
    assert clock.after(100.0).seconds == pytest.approx(105.0, abs=0.5)
