"""The picture of what is odd in a scan."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.report.oddity import CAPTION_PIXELS, TILE_PIXELS, write_oddity


def coarse(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_what_differs_is_bright_where_it_differs_and_nowhere_else(tmp_path: Path) -> None:
    scan = coarse((32, 32, 32))
    expected = scan.copy()
    expected[0, 20:24, 8:12, 16:20] += 6
    write_oddity(tmp_path / "odd.png", scan, expected, extent_mm=(32, 32, 32))
    last_row = picture(tmp_path / "odd.png")[-TILE_PIXELS:]
    bright = (last_row.sum(axis=2) > 300).mean()
    assert 0.005 < bright < 0.08
    axial = last_row[:, -TILE_PIXELS:]
    rows, columns = np.nonzero(axial.sum(axis=2) > 300)
    assert abs(columns.mean() / TILE_PIXELS - (32 - 22) / 32) < 0.05  # the patient's right is on the left
    assert abs(rows.mean() / TILE_PIXELS - (32 - 10) / 32) < 0.05  # and the front is up


def test_a_scan_as_expected_has_a_dark_last_row(tmp_path: Path) -> None:
    scan = coarse((32, 32, 32))
    write_oddity(tmp_path / "odd.png", scan, scan, extent_mm=(32, 32, 32))
    assert picture(tmp_path / "odd.png")[-TILE_PIXELS:].max() == 0


def test_the_channel_is_drawn_that_differs_most(tmp_path: Path) -> None:
    scan = np.concatenate([coarse((32, 32, 32)), 5 * coarse((32, 32, 32))])
    expected = scan.copy()
    expected[1, 10:20, 10:20, 10:20] += 30
    write_oddity(tmp_path / "both.png", scan, expected, extent_mm=(32, 32, 32))
    write_oddity(tmp_path / "second.png", scan[1:], expected[1:], extent_mm=(32, 32, 32))
    assert np.array_equal(picture(tmp_path / "both.png"), picture(tmp_path / "second.png"))


def test_tiles_have_the_proportions_of_the_scan(tmp_path: Path) -> None:
    scan = coarse((32, 32, 32))
    write_oddity(tmp_path / "odd.png", scan, scan, extent_mm=(100, 200, 50))
    assert picture(tmp_path / "odd.png").shape[0] == 3 * (TILE_PIXELS + CAPTION_PIXELS)


def test_slices_are_shown_in_their_plane_alone(tmp_path: Path) -> None:
    scan = coarse((64, 64, 5))
    write_oddity(tmp_path / "odd.png", scan, scan, extent_mm=(64, 64, 0))
    assert picture(tmp_path / "odd.png").shape[1] == 460
