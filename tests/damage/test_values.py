import numpy as np
import pytest

from pipeline.damage.values import any_axis, channels, long_axes, low_and_high, lowest_signal, spread, with_values
from tests.damage.scans import LARGEST, scan_of


def test_other_values_leave_all_else_of_a_scan_as_it_is() -> None:
    scan = scan_of(np.arange(24, dtype=np.int16).reshape(2, 3, 2, 2))
    other = with_values(scan, (2 * channel for channel in channels(scan)))
    assert other.array.dtype == np.float32
    assert other.array.tolist() == (2 * scan.array).tolist()
    assert other.affine is scan.affine
    assert (other.source, other.unit, other.format, other.repairs) == (scan.source, "mm", "nifti", ("a",))


def test_values_beyond_32_bits_are_cut() -> None:
    scan = scan_of(np.full((1, 1, 1, 2), LARGEST))
    cut = with_values(scan, (10 * channel * [-1, 1] for channel in channels(scan)))
    assert cut.array.ravel().tolist() == [-LARGEST, LARGEST]


def test_channels_are_copies() -> None:
    scan = scan_of(np.ones((1, 2, 2, 2)))
    for channel in channels(scan):
        channel[:] = 7
    assert (scan.array == 1).all()


def test_single_bright_voxels_do_not_widen_the_spread() -> None:
    channel = np.linspace(0, 100, 1001).reshape(13, 11, 7)  # 0, 0.1, 0.2, ... : percentiles are the values themselves
    channel[-1, -1, -1] = 1e6
    assert low_and_high(channel) == pytest.approx((0.5, 99.5))
    assert spread(channel) == pytest.approx(99)


def test_the_spread_of_next_to_nothing_is_that_of_its_extremes() -> None:
    channel = np.zeros((20, 20, 20))
    channel[3, 3, 3] = 5
    assert low_and_high(channel) == (0, 5)
    assert spread(np.full((2, 2, 2), 7.0)) == 0


@pytest.mark.parametrize(("values", "lowest"), [([3.0, 9.0], 0.0), ([-1000.0, 50.0], -1000.0)])
def test_no_signal_is_0_or_the_lowest_value_below_it(values: list[float], lowest: float) -> None:
    assert lowest_signal(np.array(values).reshape(2, 1, 1)) == lowest


@pytest.mark.parametrize(("shape", "axes"), [((4, 1, 2), [0, 2]), ((4, 5, 1), [0, 1]), ((1, 1, 1), [0])])
def test_axes_of_one_voxel_are_left_out(shape: tuple[int, ...], axes: list[int]) -> None:
    assert long_axes(shape) == axes
    assert {any_axis(shape, np.random.default_rng(seed)) for seed in range(20)} == set(axes)
