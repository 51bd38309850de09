"""Figures of autoencoders: reconstructions side by side, and a map of codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures import COLOURS
from pipeline.report.plots import COLUMN_MM, INCH_MM, NEUTRAL, cut_name, plot_style

TILE_MM, TITLE_MM = 42.0, 8.0
GALLERY_MM, GALLERY_COLUMNS = 22.0, 8
ERROR_SHARE = 0.25
"""Of the range of intensities: the difference that is drawn in the deepest colour."""
MOST_GROUPS = 12
"""Of a map's colours; the smaller groups share one."""
NUMBERS = 8
"""Values of a column of numbers from which on they are drawn as a scale of colours."""


@dataclass(frozen=True, eq=False)
class Row:
    """A patch: arrays (C, I, J, K) or (C, I, J), of which the middle slice of the first channel is drawn.

    Attributes:
        scan: as it is.
        seen: by the network; None where that is the scan.
        reconstruction: None where there is none yet.
    """

    scan: NDArray[np.float32]
    seen: NDArray[np.float32] | None = None
    reconstruction: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class _Tile:
    title: str
    picture: NDArray[np.float32]
    low: float
    high: float
    colours: str = "gray"


def reconstructions(rows: Sequence[Row], bounds: tuple[float, float]) -> Figure:
    """Scans, what the network sees of them, what it makes of that, and the difference to the scan, a row a patch.

    Args:
        rows: from top to bottom, all of the same kind.
        bounds: intensities that are black and white.
    """
    tiles = [_tiles(row, bounds) for row in rows]
    with plot_style():
        width_mm, height_mm = TILE_MM * len(tiles[0]), TITLE_MM + TILE_MM * len(rows)
        figure = Figure(figsize=(width_mm / INCH_MM, height_mm / INCH_MM), layout="constrained")
        for axes, row in zip(figure.subplots(len(rows), len(tiles[0]), squeeze=False), tiles, strict=True):
            for axis, tile in zip(axes, row, strict=True):
                axis.imshow(tile.picture, cmap=tile.colours, vmin=tile.low, vmax=tile.high, interpolation="nearest")
                axis.set_axis_off()
        for axis, tile in zip(figure.axes, tiles[0], strict=False):
            axis.set_title(tile.title, fontsize=8)
    return figure


def gallery(images: Sequence[NDArray[np.float32]], bounds: tuple[float, float], *, title: str) -> Figure:
    """Images (C, I, J, K) or (C, I, J) side by side, as in `reconstructions`.

    Args:
        images: row by row, one or more.
        bounds: intensities that are black and white.
        title: above them.
    """
    rows = -(-len(images) // GALLERY_COLUMNS)  # rounded up
    with plot_style():
        size_mm = GALLERY_MM * GALLERY_COLUMNS, TITLE_MM + GALLERY_MM * rows
        figure = Figure(figsize=(size_mm[0] / INCH_MM, size_mm[1] / INCH_MM), layout="constrained")
        figure.suptitle(title, fontsize=8)
        axes = figure.subplots(rows, GALLERY_COLUMNS, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, image in zip(axes, images, strict=False):
            axis.imshow(_middle(image), cmap="gray", vmin=bounds[0], vmax=bounds[1], interpolation="nearest")
    return figure


def code_map(codes: NDArray[np.float32], colours: Sequence[str], *, title: str) -> Figure:
    """Codes in the plane of their two main components, a point a scan.

    Args:
        codes: (scans, units); a single unit, or one scan, is drawn along a line.
        colours: what each scan is coloured after: numbers, or names of groups.
        title: of the colours.
    """
    x, y = plane_of(codes)
    with plot_style():
        figure = Figure(figsize=(COLUMN_MM / INCH_MM, COLUMN_MM / INCH_MM), layout="constrained")
        axes = figure.subplots()
        values = as_numbers(colours)
        if values is not None:
            points = axes.scatter(x, y, c=values, cmap="viridis", s=12, linewidths=0)
            figure.colorbar(points, ax=axes, label=title)
        else:
            for name, colour in group_colours(colours).items():
                inside = [place for place, each in enumerate(colours) if each == name]
                rgb = None if colour is None else tuple(level / 255 for level in colour)
                axes.scatter(x[inside], y[inside], color=rgb or NEUTRAL, s=12, linewidths=0, label=cut_name(name))
            axes.legend(title=title, fontsize=7)
        axes.set_xlabel("first component")
        axes.set_ylabel("second component")
    return figure


def plane_of(codes: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of codes (scans, units) along their two main components, signed so that maps can be compared.

    The unit that weighs most in a component weighs positively: the sign of a component is otherwise left to chance.
    """
    centred = codes.astype(np.float64) - codes.mean(0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    components = components[:2]
    strongest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
    found = centred @ (components * np.where(strongest < 0, -1, 1)).T
    return found[:, 0], found[:, 1] if found.shape[1] > 1 else np.zeros(len(found))


def as_numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    """A column as numbers, where it holds many different ones and nothing else."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() and len(np.unique(numbers)) > NUMBERS else None


def group_colours(names: Sequence[str]) -> Mapping[str, tuple[int, int, int] | None]:
    """A colour for each of the largest groups, by name; None, which is drawn grey, for the others."""
    sizes = {name: names.count(name) for name in sorted(set(names))}
    largest = sorted(sizes, key=lambda name: -sizes[name])[: min(MOST_GROUPS, len(COLOURS))]
    return {name: COLOURS[largest.index(name)] if name in largest else None for name in sizes}


def _tiles(row: Row, bounds: tuple[float, float]) -> list[_Tile]:
    scan, (low, high) = _middle(row.scan), bounds
    tiles = [_Tile("scan", scan, low, high)]
    if row.seen is not None:
        tiles.append(_Tile("what the network sees", _middle(row.seen), low, high))
    if row.reconstruction is not None:
        limit, found = ERROR_SHARE * (high - low), _middle(row.reconstruction)
        tiles.append(_Tile("reconstruction", found, low, high))
        tiles.append(_Tile("difference", found - scan, -limit, limit, "RdBu_r"))
    return tiles


def _middle(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A slice (rows, columns) of the first channel, the patient's right on the left, front or head up."""
    plane = array[0] if array.ndim == 3 else array[0, ..., array.shape[-1] // 2]
    return plane.T[::-1, ::-1]
