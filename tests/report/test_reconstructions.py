"""Figures of autoencoders."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.plots import save_figure
from pipeline.report.reconstructions import Row, as_numbers, code_map, group_colours, plane_of, reconstructions


def scan(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 10, 6), (8, 10)])
def test_a_row_has_the_scan_and_whatever_else_there_is(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = scan(*shape)
    for row, titles in (
        (Row(array), ["scan"]),
        (Row(array, array), ["scan", "what the network sees"]),
        (Row(array, None, array), ["scan", "reconstruction", "difference"]),
        (Row(array, array, array), ["scan", "what the network sees", "reconstruction", "difference"]),
    ):
        figure = reconstructions([row, row], (-2.0, 2.0))
        assert [axes.get_title() for axes in figure.axes[: len(titles)]] == titles
        assert len(figure.axes) == 2 * len(titles)
    save_figure(figure, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 1000


def test_the_right_side_of_the_patient_is_on_the_left_and_the_front_is_up() -> None:
    array = np.zeros((1, 4, 5, 3), np.float32)
    array[0, 3, 4, 1] = 1  # right and front in RAS order
    (image,) = reconstructions([Row(array)], (0.0, 1.0)).axes[0].images
    assert np.argwhere(np.asarray(image.get_array()) == 1).tolist() == [[0, 0]]


def test_the_main_plane_of_codes_keeps_the_distances_of_codes_that_lie_in_a_plane() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(0, 1, (20, 2)) @ np.linalg.qr(rng.normal(0, 1, (7, 2)))[0].T
    x, y = plane_of(flat.astype(np.float32))
    found = np.linalg.norm(np.stack([x, y], 1)[:, None] - np.stack([x, y], 1), axis=-1)
    np.testing.assert_allclose(found, np.linalg.norm(flat[:, None] - flat, axis=-1), atol=1e-5)
    assert x.var() >= y.var()


def test_a_map_turned_round_is_turned_back() -> None:
    codes = np.random.default_rng(0).normal(0, 1, (20, 5)).astype(np.float32)
    np.testing.assert_allclose(plane_of(codes)[0], plane_of(codes[::-1].copy())[0][::-1], atol=1e-5)


def test_codes_of_one_unit_lie_on_a_line() -> None:
    x, y = plane_of(np.array([[1.0], [2.0], [4.0]], np.float32))
    assert sorted(np.round(x - x[0], 6).tolist()) == [0.0, 1.0, 3.0]
    assert y.tolist() == [0.0, 0.0, 0.0]


def test_many_different_numbers_are_a_scale_and_anything_else_groups() -> None:
    numbers = as_numbers([str(each) for each in range(20)])
    assert numbers is not None
    assert numbers.tolist() == list(range(20))
    assert as_numbers(["1", "2"] * 10) is None
    assert as_numbers([*map(str, range(20)), "unknown"]) is None
    assert as_numbers([*map(str, range(20)), "nan"]) is None


def test_the_largest_groups_have_colours_and_the_others_are_grey() -> None:
    names = [name for place in range(10) for name in [f"group {place}"] * (20 - place)]
    colours = group_colours(names)
    assert [colours[f"group {place}"] is None for place in range(10)] == [False] * 7 + [True] * 3


@pytest.mark.parametrize("colours", [["train"] * 10 + ["validation"] * 10, [str(each) for each in range(20)]])
def test_a_map_is_drawn_for_groups_and_for_numbers(colours: list[str], tmp_path: Path) -> None:
    codes = np.random.default_rng(0).normal(0, 1, (20, 5)).astype(np.float32)
    save_figure(code_map(codes, colours, title="age"), tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
