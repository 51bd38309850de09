"""Figures for pages and papers, drawn by matplotlib: distributions, paired differences, learning curves.

Figures are made as objects, without pyplot and its windows. The same input gives the same bytes. Widths are those of a
column (85 mm) and of two (178 mm) of a journal, letters have 8 points, and PDF embeds them as TrueType.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.figures import COLOURS
from pipeline.files import atomic_path

INK = "#1b2331"
"""Of lines and letters. In a page it becomes the page's own colour of text, which is light on dark."""
NEUTRAL = "#808a98"
"""Of points that are no label's; seen on light and on dark."""
SOFT = 0.45
"""Opacity of what stands behind the data."""
COLUMN_MM, TWO_COLUMNS_MM, ROW_MM, AXIS_MM, CURVES_MM = 85.0, 178.0, 9.0, 12.0, 95.0
PANEL_MM = CURVES_MM / 2
INCH_MM = 25.4
DrawHistory = Callable[[Sequence[Mapping[str, Any]]], Figure]
"""What draws the rows of a history.csv."""
LOSS = {"loss": ""}
"""Column of a history that every training has."""
LONG_NAME, SHOWN_NAME = 16, 40
"""Letters of a label's name from which on a figure is two columns wide, and after which its middle is left out."""
BOX_HEIGHT, POINTS_BAND = 0.62, 0.5
"""Heights of a box and of the band of points in it, of a row's 1."""
GOLDEN = (5**0.5 - 1) / 2
ON_SCREEN = 1.5
"""How much larger a figure is on a page than on paper, where eight points are enough."""
DPI = 300
RARE = 1e-4
"""Share of the voxels below which how often they are right says nothing."""
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],  # the first comes with matplotlib: everywhere the same
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "text.parse_math": False,  # a dollar sign in a label's name is a dollar sign
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # letters stay letters: they can be read out, found and edited
    "svg.hashsalt": "medseg",
} | dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
METADATA: dict[str, dict[str, str | None]] = {
    ".svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
"""What is left out by each format, because it would make two files of one figure differ."""


@dataclass(frozen=True)
class Differences:
    """A row of `paired_differences`.

    Attributes:
        name: of the row.
        values: one difference a case.
        mean: their mean; None where there is none.
        ci95: its 95 % interval; None where there is none.
        label: the label's place among the labels, which gives it its colour; None for a row of all of them.
    """

    name: str
    values: Sequence[float]
    mean: float | None
    ci95: Sequence[float] | None
    label: int | None = None


def distribution(
    values: Mapping[str, Sequence[float]],
    axis_label: str,
    *,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Figure:
    """A box and every case as a point, a row a label; the name of each row states how many cases it has.

    Boxes reach from quartile to quartile with a line at the median; whiskers reach to the last case within 1.5 of the
    box's length (Tukey 1977).

    Args:
        values: by label, one value a case; a row without values stays empty.
        axis_label: name and unit of the values.
        bounds: the least and the greatest value that the metric can have, where it has them.
    """
    with plot_style():
        figure, axes = _rows_figure([(name, len(row)) for name, row in values.items()], axis_label)
        for place, row in enumerate(values.values()):
            _draw_box(axes, row, place)
            _draw_points(axes, row, place, colour=_colour(place))
        _limit(axes, list(chain.from_iterable(values.values())), bounds)
        if bounds == (None, None):
            axes.axvline(0, color=INK, linewidth=0.6, linestyle=":", alpha=SOFT, zorder=0)
    return figure


def paired_differences(rows: Sequence[Differences], axis_label: str) -> Figure:
    """The difference of every case as a point, and their mean with its 95 % interval, a row a label.

    Args:
        rows: from top to bottom.
        axis_label: which difference it is, and its unit.
    """
    with plot_style():
        figure, axes = _rows_figure([(row.name, len(row.values)) for row in rows], axis_label)
        axes.axvline(0, color=INK, linewidth=0.8, linestyle="--", alpha=SOFT, zorder=0)
        for place, row in enumerate(rows):
            _draw_points(axes, row.values, place, colour=_colour(row.label))
            if row.ci95 is not None:
                axes.plot(row.ci95, (place, place), color=INK, linewidth=1.6, solid_capstyle="butt", zorder=4)
            if row.mean is not None:
                axes.plot([row.mean], [place], marker="D", markersize=4, color=INK, linestyle="", zorder=5)
        _limit(axes, [0.0, *chain.from_iterable(row.values for row in rows)], (None, None))
    return figure


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """How often a network is right that is so sure, in bins.

    Attributes:
        name: of the curve.
        edges: of the bins (B + 1,).
        confidence: the mean probability of the likeliest class (B,); NaN in a bin without voxels.
        accuracy: share of voxels where it is right (B,).
        share: of all voxels (B,).
        error: the expected calibration error.
    """

    name: str
    edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    share: NDArray[np.float64]
    error: float


def learning_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of training and Dice of validation against the epoch.

    Args:
        rows: of history.csv, as numbers or as text: ``epoch``, ``loss`` and ``dice``, the mean over labels; a column
            ``dice_<label>`` is drawn as that label's. What is empty or None, as Dice is in an epoch without validation,
            is passed over.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name.startswith("dice_")))
    labels = {name: cut_name(name.removeprefix("dice_")) for name in names}
    return _curves(rows, {"training loss": LOSS, "validation Dice": labels | {"dice": "mean over labels"}})


def reconstruction_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of training and error of validation scans against the epoch, and what is known of the code.

    Args:
        rows: of an autoencoder's history.csv, as numbers or as text: ``epoch``, ``loss``, ``mse``, and where the kind
            of network has them ``input_mse``, the error of what the network sees, ``kl``, ``active_units`` and
            ``active_share``; what is empty or None is passed over.
    """
    errors = {"input_mse": "of the input", "mse": "of the reconstruction"}
    panels = {
        "training loss": LOSS,
        "validation error\n(mean square)": {name: shown for name, shown in errors.items() if _curve(rows, name)[0]},
        "KL of a code (nats)": {"kl": ""},
        "active units": {"active_units": ""},
        "share of units\nthat are active": {"active_share": ""},
    }
    known = {axis: columns for axis, columns in panels.items() if any(_curve(rows, name)[0] for name in columns)}
    return _curves(rows, known or {"training loss": LOSS})


def reliability_diagram(curves: Sequence[ReliabilityCurve]) -> Figure:
    """How often the likeliest class is right against how sure a network is of it, and how many voxels are so sure."""
    with plot_style():
        figure = Figure(figsize=(COLUMN_MM / INCH_MM, CURVES_MM / INCH_MM), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle="--", alpha=SOFT, label="as sure as right")
        for place, curve in enumerate(curves):
            colour, label = _colour(place), f"{curve.name}, error {curve.error:.3f}"
            shown = curve.share >= RARE
            upper.plot(
                curve.confidence[shown], curve.accuracy[shown], color=colour, marker=".", markersize=5, label=label
            )
            lower.stairs(curve.share, curve.edges, color=colour)
        first = min(float(curve.edges[0]) for curve in curves)
        upper.set(ylabel="share that is right", xlim=(first, 1.01), ylim=(0, 1.02))
        lower.set(xlabel="probability of the likeliest class", ylabel="share of voxels", yscale="log", ylim=(RARE, 1.5))
        lower.yaxis.set_major_formatter("{x:g}")
        upper.legend(loc="lower right")
    return figure


def save_figure(figure: Figure, target: Path) -> None:
    """Write a figure, whole or not at all; the same figure gives the same bytes.

    Args:
        figure: of this file.
        target: a .svg, .pdf or .png file.
    """
    assert target.suffix in METADATA, target
    with atomic_path(target) as path, plot_style():
        figure.savefig(path, format=target.suffix[1:], dpi=DPI, facecolor="white", metadata=METADATA[target.suffix])


def inline_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """A figure as an SVG element of a page, which takes over the page's colour of text.

    Args:
        figure: of this file.
        name: unlike that of any other figure of the page; its ids begin with it.
        title: what it shows, for those who do not see it.
        description: how it is drawn, for them too.
    """
    stream = io.StringIO()
    with plot_style():
        figure.savefig(stream, format="svg", metadata=METADATA[".svg"])
    text = stream.getvalue()
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| (width|height)="[\d.]+pt"| version="1.1"', "", text)
    text = text.replace(INK, "currentColor").replace("xlink:href", "href")
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    width_pt = figure.get_size_inches()[0] * 72
    said = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
    opening = f'<svg role="img" aria-label="{html.escape(title)}" style="width: {width_pt * 4 / 3 * ON_SCREEN:.0f}px"'
    return text.replace("<svg", opening, 1).replace(">", ">" + said, 1).strip()


@contextmanager
def plot_style() -> Iterator[None]:
    """STYLE for a while. matplotlib's own rc_context loads pyplot, and with it whatever draws windows here."""
    before = {name: rcParams[name] for name in STYLE}
    rcParams.update(STYLE)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in letters that the font lacks
            yield
    finally:
        rcParams.update(before)


def _curves(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, Mapping[str, str]]) -> Figure:
    """Graphs above each other, by the name of their axis: columns of a history, and what each is called.

    The last column of each is black, those before it have the colours of labels.
    """
    with plot_style():
        figure = Figure(figsize=(COLUMN_MM / INCH_MM, PANEL_MM * len(panels) / INCH_MM), layout="constrained")
        graphs = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, columns) in zip(graphs, panels.items(), strict=True):
            for place, (column, shown) in enumerate(columns.items()):
                marked: dict[str, Any] = {} if column in LOSS else {"marker": ".", "markersize": 4}
                colour = INK if place == len(columns) - 1 else _colour(place)
                axes.plot(*_curve(rows, column), color=colour, label=shown, **marked)
            axes.set_ylabel(name)
            if len(columns) > 1:
                axes.legend()
        graphs[-1].set_xlabel("epoch")
        graphs[-1].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    return figure


def _rows_figure(rows: Sequence[tuple[str, int]], axis_label: str) -> tuple[Figure, Axes]:
    """An empty figure with a row for each name and count of cases, the first on top."""
    width_mm = COLUMN_MM if max((len(name) for name, _ in rows), default=0) <= LONG_NAME else TWO_COLUMNS_MM
    height_mm = AXIS_MM + ROW_MM * max(len(rows), 1)
    figure = Figure(figsize=(width_mm / INCH_MM, height_mm / INCH_MM), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"{cut_name(name)}\nn = {count}" for name, count in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(axis_label)
    return figure, axes


def _draw_box(axes: Axes, row: Sequence[float], place: int) -> None:
    if not row:
        return
    (box,) = boxplot_stats(row)
    low, high, half = box["q1"], box["q3"], BOX_HEIGHT / 2
    line: dict[str, Any] = {"color": INK, "linewidth": 0.8, "solid_capstyle": "butt", "zorder": 2, "clip_on": False}
    axes.plot((low, high, high, low, low), place + half * np.array((-1, -1, 1, 1, -1)), **line)
    axes.plot((box["whislo"], low), (place, place), **line)
    axes.plot((high, box["whishi"]), (place, place), **line)
    axes.plot((box["med"], box["med"]), (place - half, place + half), **line | {"linewidth": 1.8})


def _draw_points(axes: Axes, row: Sequence[float], place: int, *, colour: Any) -> None:
    heights = place + POINTS_BAND * _spread(len(row))
    area = float(np.clip(400 / max(len(row), 1), 4, 16))  # in square points: smaller where there are many
    axes.scatter(row, heights, s=area, color=colour, alpha=0.75, linewidths=0, zorder=3, clip_on=False)


def _limit(axes: Axes, values: Sequence[float], bounds: tuple[float | None, float | None]) -> None:
    """Leave some room around the values, but none beyond what the metric can be."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    least, greatest = bounds
    low = low - room if least is None else max(low - room, least)
    high = high + room if greatest is None else min(high + room, greatest)
    axes.set_xlim(low, high)


def _spread(count: int) -> NDArray[np.float64]:
    """Offsets from -0.5 to 0.5 that keep points apart: 0 first, then by the golden ratio, never by chance."""
    return np.asarray((0.5 + GOLDEN * np.arange(count)) % 1 - 0.5, dtype=np.float64)


def _colour(place: int | None) -> str | tuple[float, ...]:
    if place is None:
        return NEUTRAL
    return tuple(level / 255 for level in COLOURS[place % len(COLOURS)])


def cut_name(name: str) -> str:
    """A label's name as a figure has room for it: long ones often differ in their last letters, so these stay."""
    if len(name) <= SHOWN_NAME:
        return name
    half = SHOWN_NAME // 2
    return f"{name[: half - 1]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _curve(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[list[float], list[float]]:
    """Epochs and values of a column, where it has one."""
    known = [(float(row["epoch"]), float(row[column])) for row in rows if row.get(column) not in (None, "")]
    return [epoch for epoch, _ in known], [value for _, value in known]
