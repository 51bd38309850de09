"""Pictures of scans and masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline import geometry
from pipeline.files import atomic_path
from pipeline.scan import Scan

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
CAPTION_PIXELS = 22
CAPTION_FONT = 12
THUMBNAIL_PIXELS = 160
SHEET_COLUMNS, SHEET_GAP = 6, 8
FILL = 0.35
PLANES = ("sagittal", "coronal", "axial")
AXIAL = 2
COLOUR_CHANNELS = 3


@dataclass(frozen=True)
class _Panel:
    """A plane through the volume, rows from top to bottom: red, green and blue from 0 to 1, label values, its size."""

    colours: NDArray[np.float32]
    labels: NDArray[np.unsignedinteger]
    height_mm: float
    width_mm: float


def write_preview(target: Path, scan: Scan, mask: NDArray[np.unsignedinteger], *, labels: dict[str, int]) -> None:
    """Three planes through the middle of the mask, right side of the patient on the left, as radiologists look at them.

    A scan of one slice has one plane; of a picture it is not said how it lies in the patient, which nobody knows.

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
    pictures = [_draw(panel, scale, labels) for panel in panels]
    with atomic_path(target) as path:
        _compose(list(zip(names, pictures, strict=True)), labels).save(path)


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
        pen.text((left, top), _fitting(name, pen), fill="white", font_size=CAPTION_FONT)
        sheet.paste(Image.fromarray(pixels), (left, top + CAPTION_PIXELS))
    with atomic_path(target) as path:
        sheet.save(path)


def _fitting(name: str, pen: ImageDraw.ImageDraw) -> str:
    """A name cut in its middle until it fits above a thumbnail: its beginning and its end tell it from others."""
    shown, kept = name, len(name)
    while pen.textlength(shown, font_size=CAPTION_FONT) > THUMBNAIL_PIXELS and kept > 2:
        kept -= 1
        shown = f"{name[: (kept + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - kept // 2 :]}"
    return shown


def _planes(scan: Scan) -> list[int]:
    return shown_planes(geometry.to_ras(scan.affine).apply(scan.array[:1]).shape[1:])


def _panels(scan: Scan, mask: NDArray[np.unsignedinteger], planes: Sequence[int]) -> list[_Panel]:
    reorientation = geometry.to_ras(scan.affine)
    levels = grey_levels(reorientation.apply(shown_channels(scan)))
    upright_mask, spacing_mm = reorientation.apply(mask[None])[0], geometry.ras_spacing_mm(scan.affine)
    return [_panel(levels, upright_mask, axis, spacing_mm=spacing_mm) for axis in planes]


def shown_channels(scan: Scan) -> NDArray:
    """What is drawn (C, I, J, K): the colours of a picture that has them, otherwise the first channel."""
    is_colour = scan.unit == "px" and scan.channels == COLOUR_CHANNELS
    return scan.array if is_colour else scan.array[:1]


def grey_levels(volume: NDArray) -> NDArray[np.float32]:
    """Grey values from 0 to 1 between the 0.5 and 99.5 percentile."""
    low, high = np.percentile(volume, [0.5, 99.5])
    return np.clip((volume.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def shown_planes(shape: tuple[int, ...]) -> list[int]:
    """The axes across which a plane shows something: of a single slice, its own plane alone."""
    across = [axis for axis in range(3) if all(shape[other] > 1 for other in range(3) if other != axis)]
    return across or [AXIAL]


def fullest_slice(mask: NDArray, axis: int) -> int:
    """The slice with most mask in it, or the middle one of an empty mask."""
    others = tuple(other for other in range(3) if other != axis)
    count = (mask > 0).sum(axis=others)
    return int(count.argmax()) if count.any() else mask.shape[axis] // 2


def _panel(levels: NDArray, mask: NDArray, axis: int, *, spacing_mm: tuple[float, ...]) -> _Panel:
    index = fullest_slice(mask, axis)
    across, up = (other for other in range(3) if other != axis)
    height, width = mask.shape[up] * spacing_mm[up], mask.shape[across] * spacing_mm[across]
    return _Panel(cut_colours(levels, axis, index), cut_plane(mask, axis, index), height, width)


def cut_plane(volume: NDArray, axis: int, index: int) -> NDArray:
    """Cut a plane out of a RAS volume and turn it so that superior (or anterior) is up, the patient's right left."""
    plane = np.take(volume, index, axis)  # (across, up)
    return np.ascontiguousarray(plane.T[::-1, ::-1])


def cut_colours(levels: NDArray[np.float32], axis: int, index: int) -> NDArray[np.float32]:
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


def _compose(named: list[tuple[str, Image.Image]], labels: dict[str, int]) -> Image.Image:
    pictures = [picture for _, picture in named]
    gap = 6
    height = max(picture.height for picture in pictures) + 2 * CAPTION_PIXELS
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (max(width, 360), height), "black")
    pen, left = ImageDraw.Draw(sheet), 0
    for name, picture in named:
        pen.text((left + 4, 5), name, fill="white", font_size=12)
        sheet.paste(picture, (left, CAPTION_PIXELS))
        left += picture.width + gap
    left = 4
    for index, name in enumerate(labels):
        pen.text((left, height - CAPTION_PIXELS + 4), name, fill=COLOURS[index % len(COLOURS)], font_size=12)
        left += round(pen.textlength(name, font_size=12)) + 16
    return sheet
