import math
from itertools import pairwise

import numpy as np
import pytest

from pipeline.damage.intensities import bias, bias_field, brightened, contrast, darkened, folded, noise, rician
from pipeline.scan import Scan
from tests.damage.scans import scan_of

RAMP = np.linspace(0, 1000, 10 * 9 * 8).reshape(1, 10, 9, 8)
UNIT = np.array([0.0, 0.25, 0.5, 1.0])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def contrasts(scan: Scan, strength: float) -> list[Scan]:
    """With twenty generators, so that each of the three contrasts is among them."""
    return [contrast(scan, strength, generator(seed)) for seed in range(20)]


def test_gammas_at_full_strength_are_4_and_a_quarter() -> None:
    assert darkened(UNIT, 1).tolist() == [0, 0.25**4, 0.5**4, 1]
    assert brightened(UNIT, 1) == pytest.approx([0, math.sqrt(0.5), 0.5**0.25, 1])


def test_gammas_at_half_strength_are_2_and_a_half() -> None:
    assert darkened(UNIT, 0.5).tolist() == [0, 0.0625, 0.25, 1]
    assert brightened(UNIT, 0.5) == pytest.approx([0, 0.5, math.sqrt(0.5), 1])


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.5, [0, 0.25, 0.5, 0]),
        (0.75, [0.5, 0.75, 0.5, 0]),  # mirrored at 0.25: 0, 0.25, 0, -0.5; raised by 0.5
        (1, [1, 0.75, 0.5, 0]),
    ],
)
def test_the_brightest_are_mirrored_down(share: float, expected: list[float]) -> None:
    assert folded(UNIT, share).tolist() == expected


def test_folds_stay_between_0_and_1_and_move_no_value_less_as_they_grow() -> None:
    unit = np.linspace(0, 1, 101)
    folds = [folded(unit, share) for share in np.linspace(0, 1, 41)]
    assert folds[0] == pytest.approx(unit)
    for before, after in pairwise(folds):
        assert after.min() > -1e-12
        assert after.max() < 1 + 1e-12
        assert (np.abs(after - unit) > np.abs(before - unit) - 1e-12).all()


def test_each_of_three_contrasts_is_drawn() -> None:
    middle = {round(float(scan.array[0, 5, 4, 4])) for scan in contrasts(scan_of(RAMP), 1)}
    unit = (RAMP[0, 5, 4, 4] - 5) / 990  # percentiles 0.5 and 99.5 are 5 and 995
    assert middle == {round(5 + 990 * value) for value in (unit**4, unit**0.25, 1 - unit)}


def test_a_wrong_contrast_stays_within_the_range_of_a_scan() -> None:
    for strength in (0.3, 0.6, 1):
        for scan in contrasts(scan_of(RAMP), strength):
            assert scan.array.min() >= 0
            assert scan.array.max() <= 1000


def test_of_each_channel_the_contrast_changes_within_its_own_range() -> None:
    for scan in contrasts(scan_of(np.concatenate([RAMP, 2 * RAMP + 100])), 0.7):
        assert scan.array[1] == pytest.approx(2 * scan.array[0] + 100, rel=1e-5)


def test_the_mean_of_noise_without_a_signal_is_sigma_sqrt_of_half_pi() -> None:
    noisy = rician(np.zeros((50, 50, 40)), 4, generator())
    assert noisy.mean() == pytest.approx(4 * math.sqrt(math.pi / 2), rel=0.01)  # 5.013
    assert noisy.std() == pytest.approx(4 * math.sqrt(2 - math.pi / 2), rel=0.01)  # 2.621
    assert noisy.min() > 0


def test_noise_on_a_strong_signal_is_normal() -> None:
    # for a signal A far above sigma the mean is sqrt(A^2 + sigma^2), and the standard deviation sigma
    noisy = rician(np.full((50, 50, 40), 100.0), 4, generator())
    assert noisy.mean() == pytest.approx(math.sqrt(100**2 + 4**2), abs=0.05)
    assert noisy.std() == pytest.approx(4, rel=0.01)


def test_noise_on_values_below_0_starts_at_the_lowest() -> None:
    noisy = rician(np.full((50, 50, 40), -1000.0), 4, generator())
    assert noisy.mean() == pytest.approx(-1000 + 4 * math.sqrt(math.pi / 2), abs=0.05)


def test_noise_is_three_tenths_of_each_channels_spread_and_differs_between_channels() -> None:
    bright = np.concatenate([RAMP, RAMP]) + 1e6  # far above 0, where it is normal
    first, second = noise(scan_of(bright), 1, generator()).array.astype(float) - bright
    assert first.std() == pytest.approx(0.3 * 990, rel=0.1)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("seed", range(5))
def test_the_strongest_bias_is_16_times_as_strong_in_one_place_as_in_another(seed: int) -> None:
    field = bias_field((9, 8, 7), generator(seed))
    assert field.max() / field.min() == pytest.approx(16)
    assert field[4, 3:5, 3] == pytest.approx(1, abs=0.3)  # at the centre every power is 0


def test_a_bias_of_half_strength_is_the_root_of_the_strongest() -> None:
    scan = scan_of(np.full((2, 9, 8, 7), 10.0))
    field = bias_field((9, 8, 7), generator())
    for channel in bias(scan, 0.5, generator()).array:
        assert channel == pytest.approx(10 * np.sqrt(field), rel=1e-6)


def test_a_bias_field_is_smooth() -> None:
    field = np.log(bias_field((40, 40, 40), generator(1)))
    assert all(np.abs(np.diff(field, n=4, axis=axis)).max() < 1e-12 for axis in range(3))  # of the third order


def test_a_bias_of_values_below_0_multiplies_what_is_above_the_lowest() -> None:
    scan = scan_of(RAMP - 1000)
    assert bias(scan, 1, generator()).array.min() == -1000


def test_a_single_slice_has_a_bias_in_its_plane() -> None:
    field = bias_field((9, 8, 1), generator())
    assert field.max() / field.min() == pytest.approx(16)
    assert bias_field((1, 1, 1), generator()).tolist() == [[[1]]]
