"""Pictures of a reference and a prediction in three planes, as outlines over the scan."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.figures import (
    BAR_SHARE,
    COLOURS,
    EDGES,
    PLANES,
    cut_colours,
    cut_plane,
    fullest_slice,
    grey_levels,
    round_length_mm,
    shown_channels,
    shown_planes,
    size_mm,
)
from pipeline.report.plots import METADATA, cut_name, plot_style
from pipeline.scan import Scan, Unit

WIDTH, HEIGHT, GAP, TITLE, LEGEND_ROW = 7.0, 2.8, 0.12, 0.28, 0.2
"""Inches: the picture's width, a panel's height at most, between panels, above them, and a row of the legend."""
SINGLE_HEIGHT = 5.6
"""Of a single panel."""
LEGEND_COLUMNS, LINE_WIDTH, LETTER_WIDTH = 4, 0.55, 0.07
"""Of the legend at most; inches of a line and the room around it, and of a letter on average."""
DPI = 144
MARGIN_MM, MARGIN_SHARE = 12.0, 0.3
"""What is shown around the structures: so many mm, or that share of their size where it is more."""
PALE = 0.65
"""How far the prediction's line goes from its label's colour to white, so that it stands out from the reference's."""
FILL = 0.35
LETTERS: dict[str, Any] = {
    "color": "white",
    "fontsize": 8,
    "ha": "center",
    "path_effects": [withStroke(linewidth=2, foreground="black")],
}


@dataclass(frozen=True)
class _Volumes:
    """Arrays in RAS order, cut to what is shown; ``levels`` (C, I, J, K) is None where there is no scan."""

    levels: NDArray[np.float32] | None
    reference: NDArray[np.integer]
    prediction: NDArray[np.integer]
    spacing_mm: tuple[float, ...]
    unit: Unit

    def size_mm(self, axis: int) -> tuple[float, float]:
        """Width and height of the plane across an axis."""
        return size_mm(self.reference.shape, self.spacing_mm, axis)


def overlay_png(
    prediction: NDArray[np.integer], reference: Scan, *, labels: dict[str, int], scan: Scan | None
) -> bytes:
    """Outlines of the reference (solid) and of the prediction (dashed, paler) in three planes, as a PNG file.

    Of an image, or a single slice, there is one plane. A picture without a spacing has no sides, and a bar in pixels.

    Each plane goes through the slice with most of both masks in it. The view is cut to the structures; letters name the
    patient's sides, of which right is on the left, and a bar gives the scale, which is that of all three planes.

    Args:
        prediction: label values (I, J, K).
        reference: the mask (1, I, J, K), on the same grid.
        labels: name and value of each structure.
        scan: on the same grid; `shown_channels` of it are shown. Without it, the reference is filled.
    """
    volumes, columns, planes = _upright(prediction, reference, scan), _legend_columns(labels), _planes(reference)
    with plot_style():
        rows = -(-(len(labels) + 2) // columns)  # rounded up
        figure, panels = _panels([volumes.size_mm(axis) for axis in planes], legend_rows=rows)
        for axis, panel in zip(planes, panels, strict=True):
            _draw_plane(panel, volumes, axis, values=list(labels.values()))
        _add_scale_bar(max(panels, key=lambda panel: panel.get_xlim()[1]), reference.unit)
        _add_legend(figure, labels, columns)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI, metadata=METADATA[".png"])
    return stream.getvalue()


def _planes(reference: Scan) -> list[int]:
    return shown_planes(geometry.to_ras(reference.affine).apply(reference.array).shape[1:])


def _upright(prediction: NDArray[np.integer], reference: Scan, scan: Scan | None) -> _Volumes:
    turn, spacing_mm = geometry.to_ras(reference.affine), geometry.ras_spacing_mm(reference.affine)
    ours, theirs = turn.apply(prediction[None])[0], turn.apply(reference.array)[0]
    box = _view((ours > 0) | (theirs > 0), spacing_mm)
    levels = None if scan is None else grey_levels(turn.apply(shown_channels(scan)))[:, *box]
    return _Volumes(levels, theirs[box], ours[box], spacing_mm, reference.unit)


def _view(inside: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> tuple[slice, ...]:
    """The box around the structures with a margin; all of the volume where there are none."""
    voxels = np.argwhere(inside)
    if not len(voxels):
        return (slice(None),) * inside.ndim
    first, last = voxels.min(0), voxels.max(0) + 1
    margin_mm = max(MARGIN_MM, MARGIN_SHARE * float(((last - first) * spacing_mm).max()))
    margin = np.ceil(margin_mm / np.asarray(spacing_mm)).astype(int)
    low, high = np.maximum(first - margin, 0), np.minimum(last + margin, inside.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _panels(sizes_mm: Sequence[tuple[float, float]], *, legend_rows: int) -> tuple[Figure, list[Axes]]:
    """A black figure with a panel for each plane, all at one scale, and room for a legend."""
    across_mm, up_mm = sum(width for width, _ in sizes_mm), max(height for _, height in sizes_mm)
    gaps = GAP * (len(sizes_mm) - 1)
    tallest = HEIGHT if len(sizes_mm) > 1 else SINGLE_HEIGHT
    scale = min((WIDTH - gaps - 2 * GAP) / across_mm, tallest / up_mm)  # inches per mm
    height = TITLE + scale * up_mm + GAP + LEGEND_ROW * legend_rows
    figure = Figure(figsize=(WIDTH, height), facecolor="black")
    left, panels = (WIDTH - gaps - scale * across_mm) / 2, []
    for width_mm, height_mm in sizes_mm:
        bottom = height - TITLE - scale * (up_mm + height_mm) / 2
        panel = scale * width_mm / WIDTH, scale * height_mm / height
        panels.append(figure.add_axes((left / WIDTH, bottom / height, *panel)))
        panels[-1].set(xlim=(0, width_mm), ylim=(height_mm, 0), xticks=[], yticks=[], autoscale_on=False)
        left += scale * width_mm + GAP
    return figure, panels


def _draw_plane(panel: Axes, volumes: _Volumes, axis: int, *, values: Sequence[int]) -> None:
    index = fullest_slice((volumes.reference > 0) | (volumes.prediction > 0), axis)
    if volumes.levels is not None:
        _draw_image(panel, cut_colours(volumes.levels, axis, index), interpolation="bilinear")
    reference, prediction = (cut_plane(mask, axis, index) for mask in (volumes.reference, volumes.prediction))
    for place, value in enumerate(values):
        if volumes.levels is None:
            _draw_image(panel, _tinted(reference == value, _rgb(place)), interpolation="nearest")
        _draw_outline(panel, reference == value, color=_rgb(place), linewidth=1.3)
        _draw_outline(panel, prediction == value, color=_rgb(place, PALE), linewidth=1.1, linestyle=(0, (3, 2)))
    for spine in panel.spines.values():
        spine.set(visible=True, color="0.4")
    if volumes.unit == "mm":
        _name_sides(panel, axis)


def _name_sides(panel: Axes, axis: int) -> None:
    panel.set_title(PLANES[axis], color="white", fontsize=8, pad=3)
    left, right, upper, lower = EDGES[axis]
    for letter, x, y in ((left, 0.04, 0.5), (right, 0.96, 0.5), (upper, 0.5, 0.96), (lower, 0.5, 0.04)):
        panel.text(x, y, letter, transform=panel.transAxes, va="center", **LETTERS)


def _draw_image(panel: Axes, pixels: NDArray, **options: Any) -> None:
    width, height = panel.get_xlim()[1], panel.get_ylim()[0]
    panel.imshow(pixels, extent=(0, width, height, 0), aspect="auto", **options)


def _draw_outline(
    panel: Axes, inside: NDArray[np.bool_], *, color: Any, linewidth: float, linestyle: Any = "-"
) -> None:
    """A line around a region; a rim of empty pixels closes it where the region meets the edge of the view."""
    if not inside.any():
        return
    rows, columns = inside.shape
    pixel_width, pixel_height = panel.get_xlim()[1] / columns, panel.get_ylim()[0] / rows
    x, y = (np.arange(columns + 2) - 0.5) * pixel_width, (np.arange(rows + 2) - 0.5) * pixel_height
    padded = np.pad(inside, 1).astype(float)
    panel.contour(x, y, padded, [0.5], colors=[color], linewidths=[linewidth], linestyles=[linestyle])


def _add_scale_bar(panel: Axes, unit: Unit) -> None:
    width, height = panel.get_xlim()[1], panel.get_ylim()[0]
    length_mm = round_length_mm(BAR_SHARE * width)
    left, y = 0.06 * width, 0.93 * height
    halo = [withStroke(linewidth=4, foreground="black")]
    panel.plot((left, left + length_mm), (y, y), color="white", linewidth=2, solid_capstyle="butt", path_effects=halo)
    panel.text(left + length_mm / 2, y - 0.02 * height, f"{length_mm:g} {unit}", va="bottom", **LETTERS)


def _legend_columns(names: Iterable[str]) -> int:
    """As many as have room for the longest name."""
    longest = max(len(cut_name(name)) for name in (*names, "prediction"))
    return min(LEGEND_COLUMNS, int((WIDTH - 2 * GAP) / (LINE_WIDTH + LETTER_WIDTH * longest)))


def _add_legend(figure: Figure, labels: Iterable[str], columns: int) -> None:
    handles = [
        Line2D([], [], color="0.6", linewidth=1.3, label="reference"),
        Line2D([], [], color="white", linewidth=1.1, linestyle=(0, (3, 2)), label="prediction"),
        *(Line2D([], [], color=_rgb(place), linewidth=5, label=cut_name(name)) for place, name in enumerate(labels)),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=columns, labelcolor="white", borderaxespad=0.2)


def _rgb(place: int, pale: float = 0.0) -> tuple[float, float, float]:
    red, green, blue = (level / 255 * (1 - pale) + pale for level in COLOURS[place % len(COLOURS)])
    return red, green, blue


def _tinted(inside: NDArray[np.bool_], colour: tuple[float, float, float]) -> NDArray[np.float64]:
    """Pixels (rows, columns, RGBA) that let what lies below shine through."""
    return np.where(inside[..., None], (*colour, FILL), 0.0)
