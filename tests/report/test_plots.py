"""Figures: what is drawn, read back from matplotlib's objects, and what the files are like."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.report.plots import (
    INK,
    Differences,
    ReliabilityCurve,
    distribution,
    inline_svg,
    learning_curves,
    paired_differences,
    reconstruction_curves,
    reliability_diagram,
    save_figure,
)

MM = 1 / 25.4
HISTORY = [
    {"epoch": "1", "loss": "0.9", "learning_rate": "0.1", "dice": "", "seconds": "1"},
    {"epoch": "2", "loss": "0.5", "learning_rate": "0.1", "dice": "0.6", "seconds": "1"},
]


def points(figure: Figure) -> list[list[float]]:
    """The values of the points, row by row."""
    (axes,) = figure.axes
    return [np.asarray(collection.get_offsets())[:, 0].tolist() for collection in axes.collections]


def names(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def lines(figure: Figure, axes: int = 0) -> list[tuple[list[float], list[float]]]:
    return [
        (np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist())
        for line in figure.axes[axes].lines
    ]


def test_a_distribution_shows_every_case_and_says_how_many_there_are() -> None:
    figure = distribution({"heart": [0.5, 0.75, 1.0], "lung": [0.25], "none": []}, "Dice", bounds=(0, 1))
    assert points(figure) == [[0.5, 0.75, 1.0], [0.25], []]
    assert names(figure) == ["heart\nn = 3", "lung\nn = 1", "none\nn = 0"]
    assert figure.axes[0].get_xlabel() == "Dice"
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first row is on top


def test_a_box_reaches_from_quartile_to_quartile_and_its_whiskers_to_the_last_case_within_reach() -> None:
    # quartiles 2, 3, 4 of 1..5 and 30: linear interpolation gives 2.25, 3.5, 4.75; 30 is beyond 4.75 + 1.5 * 2.5
    figure = distribution({"a": [1.0, 2.0, 3.0, 4.0, 5.0, 30.0]}, "mm", bounds=(0, None))
    box, low, high, median = lines(figure)
    assert sorted(set(box[0])) == [2.25, 4.75]
    assert (low[0], high[0], median[0]) == ([1.0, 2.25], [4.75, 5.0], [3.5, 3.5])


@pytest.mark.parametrize(
    ("values", "bounds", "limits"),
    [
        ([0.5, 1.0], (0.0, 1.0), (0.475, 1.0)),
        ([0.0, 4.0], (0.0, None), (0.0, 4.2)),
        ([-1.0, 1.0], (None, None), (-1.1, 1.1)),
        ([1.0, 1.0], (0.0, 1.0), (0.95, 1.0)),
        ([0.0], (0.0, 1.0), (0.0, 0.05)),
        ([], (0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_the_axis_ends_where_the_metric_does(
    values: list[float], bounds: tuple[float | None, float | None], limits: tuple[float, float]
) -> None:
    assert distribution({"a": values}, "x", bounds=bounds).axes[0].get_xlim() == pytest.approx(limits)


def test_a_figure_is_as_wide_as_a_column_and_as_two_where_names_are_long() -> None:
    assert distribution({"heart": [1.0]}, "x").get_size_inches()[0] == pytest.approx(85 * MM)
    wide = distribution({"left ventricle of the heart": [1.0]}, "x")
    assert wide.get_size_inches()[0] == pytest.approx(178 * MM)


def test_of_a_very_long_name_the_middle_is_left_out() -> None:
    (name,) = names(distribution({"x" * 100 + ", part 1": []}, "x"))
    assert name == "x" * 19 + "…" + "x" * 12 + ", part 1\nn = 0"


def test_paired_differences_show_every_case_and_the_interval_of_the_mean() -> None:
    rows = [Differences("all", [0.1, -0.2], -0.05, (-0.2, 0.1)), Differences("heart", [], None, None, label=0)]
    figure = paired_differences(rows, "difference in Dice")
    assert points(figure) == [[0.1, -0.2], []]
    assert names(figure) == ["all\nn = 2", "heart\nn = 0"]
    _, interval, mean = lines(figure)
    assert interval == ([-0.2, 0.1], [0.0, 0.0])
    assert mean == ([-0.05], [0.0])


def test_learning_curves_pass_over_epochs_without_validation() -> None:
    figure = learning_curves(HISTORY)
    assert lines(figure, 0) == [([1.0, 2.0], [0.9, 0.5])]
    assert lines(figure, 1) == [([2.0], [0.6])]


def test_learning_curves_show_each_label_that_the_history_has() -> None:
    rows = [{"epoch": epoch, "loss": 0.5, "dice": 0.6, "dice_heart": 0.7, "dice_lung": None} for epoch in (1, 2)]
    figure = learning_curves(rows)
    assert [line.get_label() for line in figure.axes[1].lines] == ["heart", "lung", "mean over labels"]
    assert lines(figure, 1) == [([1.0, 2.0], [0.7, 0.7]), ([], []), ([1.0, 2.0], [0.6, 0.6])]


def test_the_curves_of_an_autoencoder_are_those_that_its_kind_has() -> None:
    denoising = [{"epoch": 1, "loss": 0.5, "mse": "0.2", "input_mse": "0.4", "kl": "", "active_units": None}]
    figure = reconstruction_curves(denoising)
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "validation error\n(mean square)"]
    assert lines(figure, 1) == [([1.0], [0.4]), ([1.0], [0.2])]
    variational = [{"epoch": 1, "loss": 0.5, "mse": 0.2, "kl": 90.0, "active_units": 60.0}]
    figure = reconstruction_curves(variational)
    assert [axes.get_ylabel() for axes in figure.axes][2:] == ["KL of a code (nats)", "active units"]
    assert [lines(figure, place) for place in (2, 3)] == [[([1.0], [90.0])], [([1.0], [60.0])]]


def test_an_autoencoder_without_epochs_is_drawn_empty() -> None:
    assert lines(reconstruction_curves([]), 0) == [([], [])]


SURE = ReliabilityCurve(
    "as it is", np.linspace(0.5, 1, 3), np.array([0.6, 0.9]), np.array([0.5, 1.0]), np.full(2, 0.5), 0.1
)


def test_a_reliability_diagram_has_a_line_for_what_should_be_and_one_a_curve() -> None:
    figure = reliability_diagram([SURE, replace(SURE, name="calibrated", error=0.02)])
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels == ["as sure as right", "as it is, error 0.100", "calibrated, error 0.020"]
    assert lines(figure, 0)[1] == ([0.6, 0.9], [0.5, 1.0])


def test_a_history_without_epochs_is_drawn_empty(tmp_path: Path) -> None:
    save_figure(learning_curves([]), tmp_path / "history.png")
    with Image.open(tmp_path / "history.png") as picture:
        assert picture.width == pytest.approx(85 * MM * 300, abs=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: distribution({"heart": [0.5, 1.0], "l$u$ng": [0.25]}, "Dice", bounds=(0, 1)),
        lambda: paired_differences([Differences("all", [0.1, -0.2], -0.05, (-0.2, 0.1))], "difference"),
        lambda: learning_curves(HISTORY),
        lambda: reliability_diagram([SURE]),
    ],
    ids=["distribution", "differences", "curves", "reliability"],
)
@pytest.mark.parametrize("ending", ["svg", "pdf", "png"])
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, make: Callable[[], Figure], ending: str) -> None:
    for name in ("one", "two"):
        save_figure(make(), tmp_path / f"{name}.{ending}")
    first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert first == second
    assert not re.search(rb"CreationDate|dc:date|20\d\d-\d\d-\d\d", first)


def test_letters_of_a_pdf_are_truetype_and_those_of_an_svg_are_text(tmp_path: Path) -> None:
    figure = distribution({"l$u$ng": [0.25]}, "Dice", bounds=(0, 1))
    for ending in ("svg", "pdf"):
        save_figure(figure, tmp_path / f"figure.{ending}")
    pdf, svg = (tmp_path / "figure.pdf").read_bytes(), (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert b"/FontFile2" in pdf  # a TrueType font
    assert b"/Type3" not in pdf
    assert ">l$u$ng</" in svg
    assert ">Dice</text>" in svg


def test_an_inline_drawing_takes_the_colour_of_the_page_and_says_what_it_shows() -> None:
    figure = distribution({"<heart>": [0.25, 0.5]}, "Dice", bounds=(0, 1))
    svg = inline_svg(figure, name="dice", title="Dice <by> label", description='points & "boxes"')
    assert svg.startswith('<svg role="img" aria-label="Dice &lt;by&gt; label"')
    assert "<title>Dice &lt;by&gt; label</title><desc>points &amp; &quot;boxes&quot;</desc>" in svg
    assert "&lt;heart&gt;" in svg
    assert (INK in svg, "currentColor" in svg) == (False, True)
    assert not re.search(r"https?:|<style|<\?xml|<!DOCTYPE|<script|url\((?!#dice-)", svg)
    ids, used = set(re.findall(r'id="([^"]+)"', svg)), set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    assert used
    assert used <= ids
    assert all(each.startswith("dice-") for each in ids)


def test_a_name_in_letters_that_the_font_lacks_is_no_error(tmp_path: Path) -> None:
    save_figure(distribution({"心臓": [0.5]}, "Dice"), tmp_path / "figure.pdf")
    assert (tmp_path / "figure.pdf").is_file()


def test_what_others_set_for_their_figures_is_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    inline_svg(distribution({"a": [0.5]}, "Dice"), name="a", title="a", description="a")
    assert dict(matplotlib.rcParams) == before
