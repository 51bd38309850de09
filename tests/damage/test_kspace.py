from collections.abc import Callable

import numpy as np
import pytest

from pipeline.damage.kspace import ghosts, interleaved, moved, rotation, spikes, wave
from pipeline.scan import Scan
from tests.damage.scans import scan_of

STILL = np.eye(3)


def delta(shape: tuple[int, ...], *place: int) -> np.ndarray:
    volume = np.zeros(shape)
    volume[place] = 1
    return volume


def test_every_second_line_after_a_motion_leaves_ghosts_half_a_field_of_view_away() -> None:
    # kept lines are the mean of copies 0 and 6 voxels away: d = after - before is -1 at 1 and +1 at 4, so
    # half of it is -1/2 at 1 and at 7, and +1/2 at 4 and at 10; what was -1/2 has that magnitude
    ghosted = interleaved(delta((12, 1, 1), 1, 0, 0), delta((12, 1, 1), 4, 0, 0), axis=0, every=2)
    assert ghosted[:, 0, 0] == pytest.approx([0, 0.5, 0, 0, 0.5, 0, 0, 0.5, 0, 0, 0.5, 0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_third_line_leaves_ghosts_a_third_of_the_field_of_view_away(axis: int) -> None:
    before, after = (np.moveaxis(delta((12, 2, 3), place, 1, 1), 0, axis) for place in (1, 2))
    ghosted = np.moveaxis(interleaved(before, after, axis=axis, every=3), axis, 0)
    third = 1 / 3
    assert ghosted[:, 1, 1] == pytest.approx([0, 2 * third, third, 0, 0, third, third, 0, 0, third, third, 0])
    assert ghosted.sum() == pytest.approx(ghosted[:, 1, 1].sum())  # none outside the line along the phase encoding


@pytest.mark.parametrize("size", [7, 12, 13])
def test_ghosts_are_those_of_the_lines_taken_from_the_one_and_the_other(size: int) -> None:
    rng = np.random.default_rng(size)
    before, after = rng.random((2, size, 4, 3)) + 5
    lines, lines_after = np.fft.fft(before, axis=0), np.fft.fft(after, axis=0)
    for frequency in range(-(size // 2), size // 2 + 1):
        if frequency % 3 == 0:
            lines[frequency] = lines_after[frequency]
    expected = np.abs(np.fft.ifft(lines, axis=0))
    assert interleaved(before, after, axis=0, every=3) == pytest.approx(expected)


def test_who_did_not_move_leaves_no_ghosts() -> None:
    volume = np.random.default_rng(0).random((6, 5, 4))
    still = moved(volume, rotation((1, 2, 3), plane=(0, 1), degrees=0), axis=0, voxels=0)
    assert still == pytest.approx(volume)
    assert interleaved(volume, volume, axis=1, every=2) == pytest.approx(volume)


def test_a_shift_is_towards_higher_indices_and_repeats_the_edge() -> None:
    line = np.array([7.0, 1, 2, 3, 4]).reshape(1, 5, 1)
    assert moved(line, STILL, axis=1, voxels=2).ravel() == pytest.approx([7, 7, 7, 1, 2])
    assert moved(line, STILL, axis=1, voxels=0.5).ravel() == pytest.approx([7, 4, 1.5, 2.5, 3.5])


def test_a_rotation_is_one_in_mm() -> None:
    # 4 mm from the centre: 4 voxels of 1 mm along the first axis, 2 voxels of 2 mm along the third
    before = delta((9, 1, 5), 8, 0, 2)
    after = moved(before, rotation((1, 1, 2), plane=(0, 2), degrees=90), axis=0, voxels=0)
    assert np.argwhere(after > 0.9).tolist() == [[4, 0, 4]]


def test_a_shift_comes_after_the_rotation() -> None:
    before = delta((7, 7, 1), 5, 3, 0)
    turned = rotation((1, 1, 1), plane=(0, 1), degrees=90)
    after = moved(before, turned, axis=0, voxels=2)
    assert np.argwhere(after > 0.5).tolist() == [[5, 5, 0]]  # 2 from the centre at (3, 3), turned to (3, 5), shifted


def test_a_line_can_be_shifted_and_not_turned() -> None:
    assert rotation((1, 1, 1), plane=(1, 1), degrees=15).tolist() == STILL.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_at_full_strength_the_shift_is_15_hundredths_of_the_field_of_view(seed: int) -> None:
    line = np.random.default_rng(seed).random((1, 40, 1, 1))  # in which nothing can be turned
    after = moved(line[0], STILL, axis=0, voxels=6)
    expected = [interleaved(line[0], after, axis=0, every=every) for every in (2, 3, 4)]
    ghosted = ghosts(scan_of(line), 1, np.random.default_rng(seed)).array[0]
    assert any(np.allclose(ghosted, each, rtol=1e-5) for each in expected)


@pytest.mark.parametrize("make", [ghosts, spikes])
def test_no_value_falls_below_that_of_no_signal(make: Callable[[Scan, float, np.random.Generator], Scan]) -> None:
    volume = np.random.default_rng(0).random((1, 12, 11, 10))
    for seed in range(5):
        assert make(scan_of(volume), 1, np.random.default_rng(seed)).array.min() >= 0
        assert make(scan_of(volume - 5), 1, np.random.default_rng(seed)).array.min() >= (volume - 5).min()


def test_a_wave_is_two_points_of_k_space_that_mirror_each_other() -> None:
    spectrum = np.abs(np.fft.fftn(wave((8, 9, 10), (2, -3, 0), 0.4)))
    assert np.argwhere(spectrum > 1e-9).tolist() == [[2, 6, 0], [6, 3, 0]]  # -3 of 9 is 6, -2 of 8 is 6
    assert spectrum[2, 6, 0] == pytest.approx(8 * 9 * 10 / 2)


def test_the_waves_of_all_spikes_rise_to_half_the_spread_at_most() -> None:
    volume = np.linspace(0, 1, 4000).reshape(1, 20, 20, 10) * 200 + 1000  # high enough for no magnitude to be mirrored
    for seed in range(10):
        change = spikes(scan_of(volume), 1, np.random.default_rng(seed)).array - volume
        assert 20 < np.abs(change).max() <= 0.5 * 0.99 * 200 + 1e-3
        points = np.count_nonzero(np.abs(np.fft.fftn(change[0])) > 4000)
        assert points in (2, 4, 6)  # one, two or three spikes
        assert change.mean() == pytest.approx(0, abs=1e-3)


def test_spikes_in_a_single_slice_are_waves_in_its_plane() -> None:
    volume = np.linspace(100, 200, 300).reshape(1, 20, 15, 1)
    change = spikes(scan_of(volume), 1, np.random.default_rng(0)).array - volume
    assert change.std(axis=1).min() > 1
    assert change.std(axis=2).min() > 1


def test_stripes_run_in_either_direction() -> None:
    volume = np.linspace(100, 200, 300).reshape(1, 20, 15, 1)
    directions = set()
    for seed in range(10):
        change = spikes(scan_of(volume), 1, np.random.default_rng(seed)).array[0, ..., 0] - volume[0, ..., 0]
        first, second = np.unravel_index(np.abs(np.fft.fft2(change)).argmax(), change.shape)
        directions.add((first < 10) == (second < 7.5))
    assert directions == {True, False}
