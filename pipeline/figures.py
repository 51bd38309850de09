"""Pictures of scans and masks."""

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
PANEL_PIXELS = 320
CAPTION_PIXELS = 22
FILL = 0.35
PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class _Panel:
    """A plane through the volume, rows from top to bottom: grey values, label values, and pixel sizes in mm."""

    grey: NDArray[np.float32]
    labels: NDArray[np.unsignedinteger]
    height_mm: float
    width_mm: float


def write_preview(target: Path, scan: Scan, mask: NDArray[np.unsignedinteger], *, labels: dict[str, int]) -> None:
    """Three planes through the middle of the mask, right side of the patient on the left, as radiologists look at them.

    A scan of one slice has one plane; of a picture it is not said how it lies in the patient, which nobody knows.

    Args:
        target: a .png file.
        scan: its first channel is shown.
        mask: label values (I, J, K).
        labels: name and value of each structure, for the legend.
    """
    reorientation = geometry.to_ras(scan.affine)
    upright, upright_mask = reorientation.apply(scan.array[:1])[0], reorientation.apply(mask[None])[0]
    spacing_mm = geometry.ras_spacing_mm(scan.affine)
    grey = grey_levels(upright)
    axes = _planes_of(grey.shape)
    names = ["" if scan.unit == "px" else PLANES[axis] for axis in axes]
    panels = [_panel(grey, upright_mask, axis, spacing_mm=spacing_mm) for axis in axes]
    scale = PANEL_PIXELS / max(max(panel.height_mm, panel.width_mm) for panel in panels)
    pictures = [_draw(panel, scale, labels) for panel in panels]
    with atomic_path(target) as path:
        _compose(list(zip(names, pictures, strict=True)), labels).save(path)


def grey_levels(volume: NDArray) -> NDArray[np.float32]:
    """Grey values from 0 to 1 between the 0.5 and 99.5 percentile."""
    low, high = np.percentile(volume, [0.5, 99.5])
    return np.clip((volume.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def fullest_slice(mask: NDArray, axis: int) -> int:
    """The slice with most mask in it, or the middle one of an empty mask."""
    others = tuple(other for other in range(3) if other != axis)
    count = (mask > 0).sum(axis=others)
    return int(count.argmax()) if count.any() else mask.shape[axis] // 2


def _planes_of(shape: tuple[int, ...]) -> list[int]:
    """The axes to look along: those across which a volume in RAS order is more than a line."""
    wide = [axis for axis in range(3) if min(size for other, size in enumerate(shape) if other != axis) > 1]
    return wide or [2]


def _panel(grey: NDArray, mask: NDArray, axis: int, *, spacing_mm: tuple[float, ...]) -> _Panel:
    index = fullest_slice(mask, axis)
    across, up = (other for other in range(3) if other != axis)
    height, width = grey.shape[up] * spacing_mm[up], grey.shape[across] * spacing_mm[across]
    return _Panel(cut_plane(grey, axis, index), cut_plane(mask, axis, index), height, width)


def cut_plane(volume: NDArray, axis: int, index: int) -> NDArray:
    """Cut a plane out of a RAS volume and turn it so that superior (or anterior) is up, the patient's right left."""
    plane = np.take(volume, index, axis)  # (across, up)
    return np.ascontiguousarray(plane.T[::-1, ::-1])


def _draw(panel: _Panel, scale: float, labels: dict[str, int]) -> Image.Image:
    size = (max(1, round(panel.width_mm * scale)), max(1, round(panel.height_mm * scale)))
    base = Image.fromarray((panel.grey * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    picture = np.repeat(np.asarray(base, dtype=np.float32)[..., None], 3, axis=2)
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
