"""Pictures of scans and masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline import geometry
from pipeline.files import atomic_path
from pipeline.preprocessing.ranges import thinned
from pipeline.scan import Scan, Unit

COLOURS = (
    (230, 75, 53),
    (77, 187, 213),
    (0, 160, 135),
    (243, 155, 127),
    (132, 145, 180),
    (145, 209, 194),
    (220, 180, 40),
)
"""One a label, told apart by most colour-blind readers; they repeat after the last."""
PANEL_PIXELS, LONE_PANEL_PIXELS = 320, 640
"""Of the longest side, where there are three planes and where there is one."""
PNG_LEVEL = 3
"""Of zlib: a third of the time of 6, and a tenth more bytes (a preview of three planes: 21 ms, 126 kB)."""
CAPTION_PIXELS = 22
CAPTION_FONT = 12
THUMBNAIL_PIXELS = 160
SHEET_COLUMNS, SHEET_GAP = 6, 8
FILL = 0.35
PLANES = ("sagittal", "coronal", "axial")
EDGES = (("A", "P", "S", "I"), ("R", "L", "S", "I"), ("R", "L", "A", "P"))
"""Letters at the left, right, upper and lower edge of each of these planes."""
BAR_SHARE = 0.4
"""Of a panel's width, which the scale bar does not exceed."""
HALO = 2
"""Pixels of black around white letters and lines, which are seen on bright ground too."""
AXIAL = 2
COLOUR_CHANNELS = 3
PANEL_GAP, LEAST_WIDTH = 6, 360
LEGEND_ROWS, MORE_PIXELS = 3, 90
"""Of the legend at most, and the room that is kept for the number of names that do not fit."""
LETTERING: dict[str, Any] = {"fill": "white", "font_size": 14, "stroke_width": HALO, "stroke_fill": "black"}
_PEN = ImageDraw.Draw(Image.new("RGB", (1, 1)))
"""Measures text."""


@dataclass(frozen=True)
class _Panel:
    """A plane through the volume, rows from top to bottom: red, green and blue from 0 to 1, label values, its size.

    ``edges`` are the letters at its left, right, upper and lower edge; none where the sides are not known.
    """

    colours: NDArray[np.float32]
    labels: NDArray[np.unsignedinteger]
    height_mm: float
    width_mm: float
    edges: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """A name of the legend, and where it stands."""

    row: int
    left: int
    text: str
    colour: tuple[int, int, int]


def write_preview(target: Path, scan: Scan, mask: NDArray[np.unsignedinteger], *, labels: dict[str, int]) -> None:
    """Three planes through most of the mask, right side of the patient on the left, as radiologists look at them.

    Letters name the sides, and a bar gives the scale of all planes. A scan of one slice has one plane; of
    a picture it is not said how it lies in the patient, which nobody knows.

    Args:
        target: a .png file.
        scan: `shown_channels` of it are shown.
        mask: label values (I, J, K).
        labels: name and value of each structure, for the legend.
    """
    planes = _planes(scan)
    names = ["" if scan.unit == "px" else PLANES[axis] for axis in planes]
    panels = _panels(scan, mask, planes)
    pixels = PANEL_PIXELS if len(panels) > 1 else LONE_PANEL_PIXELS
    scale = pixels / max(max(panel.height_mm, panel.width_mm) for panel in panels)
    pictures = [_annotated(_draw(panel, scale, labels), panel) for panel in panels]
    widest = max(range(len(panels)), key=lambda index: panels[index].width_mm)
    _draw_bar(pictures[widest], scale, scan.unit)
    with atomic_path(target) as path:
        _compose(list(zip(names, pictures, strict=True)), labels).save(path, compress_level=PNG_LEVEL)


def thumbnail(scan: Scan, mask: NDArray[np.unsignedinteger], *, labels: dict[str, int]) -> NDArray[np.uint8]:
    """A small picture (height, width, 3) of a scan with its mask: the last plane that `write_preview` would show."""
    (panel,) = _panels(scan, mask, _planes(scan)[-1:])
    scale = THUMBNAIL_PIXELS / max(panel.height_mm, panel.width_mm)
    return np.asarray(_draw(panel, scale, labels))


def write_contact_sheet(target: Path, thumbnails: Sequence[tuple[str, NDArray[np.uint8]]]) -> None:
    """Thumbnails in rows, each under its name.

    Args:
        target: a .png file.
        thumbnails: names and what `thumbnail` gave, one or more.
    """
    columns = min(len(thumbnails), SHEET_COLUMNS)
    rows = -(-len(thumbnails) // columns)  # rounded up
    width, height = THUMBNAIL_PIXELS + SHEET_GAP, THUMBNAIL_PIXELS + SHEET_GAP + CAPTION_PIXELS
    sheet = Image.new("RGB", (columns * width + SHEET_GAP, rows * height + SHEET_GAP), "black")
    pen = ImageDraw.Draw(sheet)
    for place, (name, pixels) in enumerate(thumbnails):
        left, top = SHEET_GAP + place % columns * width, SHEET_GAP + place // columns * height
        pen.text((left, top), _fitting(name), fill="white", font_size=CAPTION_FONT)
        sheet.paste(Image.fromarray(pixels), (left, top + CAPTION_PIXELS))
    with atomic_path(target) as path:
        sheet.save(path)


def _fitting(name: str) -> str:
    """A name cut in its middle until it fits above a thumbnail: its beginning and its end tell it from others."""
    shown, kept = name, len(name)
    while _PEN.textlength(shown, font_size=CAPTION_FONT) > THUMBNAIL_PIXELS and kept > 2:
        kept -= 1
        shown = f"{name[: (kept + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - kept // 2 :]}"
    return shown


def _planes(scan: Scan) -> list[int]:
    return shown_planes(geometry.to_ras(scan.affine).apply(scan.array[:1]).shape[1:])


def _panels(scan: Scan, mask: NDArray[np.unsignedinteger], planes: Sequence[int]) -> list[_Panel]:
    reorientation = geometry.to_ras(scan.affine)
    volume, upright_mask = reorientation.apply(shown_channels(scan)), reorientation.apply(mask[None])[0]
    window, panels = grey_window(volume), []
    for axis in planes:
        index = fullest_slice(upright_mask, axis)
        colours = scaled(cut_colours(volume, axis, index), window)
        width, height = size_mm(upright_mask.shape, geometry.ras_spacing_mm(scan.affine), axis)
        edges = EDGES[axis] if scan.unit == "mm" else ()
        panels.append(_Panel(colours, cut_plane(upright_mask, axis, index), height, width, edges))
    return panels


def size_mm(shape: tuple[int, ...], spacing_mm: tuple[float, ...], axis: int) -> tuple[float, float]:
    """Width and height of the plane across an axis of a RAS volume."""
    across, up = (other for other in range(3) if other != axis)
    return shape[across] * spacing_mm[across], shape[up] * spacing_mm[up]


def shown_channels(scan: Scan) -> NDArray:
    """What is drawn (C, I, J, K): the colours of a picture that has them, otherwise the first channel."""
    is_colour = scan.unit == "px" and scan.channels == COLOUR_CHANNELS
    return scan.array if is_colour else scan.array[:1]


def grey_levels(volume: NDArray) -> NDArray[np.float32]:
    """Grey values from 0 to 1 within the `grey_window`."""
    return scaled(volume, grey_window(volume))


def scaled(values: NDArray, window: tuple[float, float]) -> NDArray[np.float32]:
    """Values as 0 at the lower end of a window and below, to 1 at its upper end and above."""
    low, high = window
    return np.clip((values.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def grey_window(volume: NDArray) -> tuple[float, float]:
    """The values (C, I, J, K) that are shown black and white: the 0.5 and 99.5 percentile of a million voxels or so."""
    low, high = np.percentile(thinned(volume).astype(np.float64), [0.5, 99.5])
    return float(low), float(high)


def round_length_mm(longest_mm: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not longer.

    Example:
        >>> round_length_mm(47.0), round_length_mm(0.3)
        (20.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(longest_mm))
    return float(max(step * power for step in (0.5, 1, 2, 5) if step * power <= longest_mm))  # the logarithm rounds


def shown_planes(shape: tuple[int, ...]) -> list[int]:
    """The axes across which a plane shows something: of a single slice, its own plane alone."""
    across = [axis for axis in range(3) if all(shape[other] > 1 for other in range(3) if other != axis)]
    return across or [AXIAL]


def fullest_slice(mask: NDArray, axis: int) -> int:
    """The slice with most mask in it, or the middle one of an empty mask."""
    others = tuple(other for other in range(3) if other != axis)
    count = (mask > 0).sum(axis=others)
    return int(count.argmax()) if count.any() else mask.shape[axis] // 2


def cut_plane(volume: NDArray, axis: int, index: int) -> NDArray:
    """Cut a plane out of a RAS volume and turn it so that superior (or anterior) is up, the patient's right left."""
    plane = volume[(slice(None),) * axis + (index,)]  # (across, up); np.take copies the volume first
    return np.ascontiguousarray(plane.T[::-1, ::-1])


def cut_colours(levels: NDArray, axis: int, index: int) -> NDArray:
    """As `cut_plane` of one or three channels: red, green and blue (rows, columns, 3); of one channel, grey."""
    plane = np.stack([cut_plane(channel, axis, index) for channel in levels], axis=-1)
    return np.broadcast_to(plane, (*plane.shape[:2], COLOUR_CHANNELS))


def _draw(panel: _Panel, scale: float, labels: dict[str, int]) -> Image.Image:
    size = (max(1, round(panel.width_mm * scale)), max(1, round(panel.height_mm * scale)))
    base = Image.fromarray((panel.colours * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    picture = np.array(base, dtype=np.float32)
    for index, value in enumerate(labels.values()):
        inside = np.asarray(Image.fromarray(((panel.labels == value) * 255).astype(np.uint8)).resize(size)) > 127
        colour = np.array(COLOURS[index % len(COLOURS)], dtype=np.float32)
        picture[inside] = (1 - FILL) * picture[inside] + FILL * colour
        picture[_outline(inside)] = colour
    return Image.fromarray(picture.astype(np.uint8))


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a region that have a neighbour outside it."""
    padded = np.pad(inside, 1)
    enclosed = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~enclosed


def _annotated(picture: Image.Image, panel: _Panel) -> Image.Image:
    """With the letters of the patient's sides."""
    width, height = picture.size
    places = (("lm", 4, height / 2), ("rm", width - 4, height / 2), ("ma", width / 2, 4), ("md", width / 2, height - 4))
    pen = ImageDraw.Draw(picture)
    for letter, (anchor, x, y) in zip(panel.edges, places, strict=False):
        pen.text((x, y), letter, anchor=anchor, **LETTERING)
    return picture


def _draw_bar(picture: Image.Image, scale: float, unit: Unit) -> None:
    """A bar at the lower left, whose length is a round number."""
    length_mm = round_length_mm(BAR_SHARE * picture.width / scale)
    left, low, length = 10, picture.height - 10, max(1, round(length_mm * scale))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left - HALO, low - 2 - HALO, left + length + HALO, low + HALO), fill="black")
    pen.rectangle((left, low - 2, left + length, low), fill="white")
    pen.text((left, low - 2 - 2 * HALO), f"{length_mm:g} {unit}", anchor="ls", **LETTERING)


def _compose(named: list[tuple[str, Image.Image]], labels: dict[str, int]) -> Image.Image:
    pictures = [picture for _, picture in named]
    width = max(sum(picture.width for picture in pictures) + PANEL_GAP * (len(pictures) - 1), LEAST_WIDTH)
    legend = _legend(labels, width)
    top = max(picture.height for picture in pictures) + CAPTION_PIXELS
    rows = 1 + max((entry.row for entry in legend), default=0)
    sheet = Image.new("RGB", (width, top + rows * CAPTION_PIXELS), "black")
    pen, left = ImageDraw.Draw(sheet), 0
    for name, picture in named:
        pen.text((left + 4, 5), name, fill="white", font_size=CAPTION_FONT)
        sheet.paste(picture, (left, CAPTION_PIXELS))
        left += picture.width + PANEL_GAP
    for entry in legend:
        place = (entry.left, top + entry.row * CAPTION_PIXELS + 4)
        pen.text(place, entry.text, fill=entry.colour, font_size=CAPTION_FONT)
    return sheet


def _legend(labels: Iterable[str], width: int) -> list[_Entry]:
    """The names in rows, of which there are `LEGEND_ROWS` at most; it is said how many are left out."""
    entries, row, left = list[_Entry](), 0, 4
    names = list(labels)
    for index, name in enumerate(names):
        length = round(_PEN.textlength(_fitting(name), font_size=CAPTION_FONT)) + 16
        if left + length > width and left > 4:
            row, left = row + 1, 4
        is_last_row = row == LEGEND_ROWS - 1 and index + 1 < len(names)
        if is_last_row and left + length + MORE_PIXELS > width:
            return [*entries, _Entry(row, left, f"and {len(names) - index} more", (255, 255, 255))]
        entries.append(_Entry(row, left, _fitting(name), COLOURS[index % len(COLOURS)]))
        left += length
    return entries
