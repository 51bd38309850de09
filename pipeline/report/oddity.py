"""What is odd in a scan that is unlike those of training, as a picture."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.figures import cut_plane, grey_window, scaled, size_mm
from pipeline.files import atomic_path

TILE_PIXELS, CAPTION_PIXELS, FONT, GAP = 220, 26, 15, 4
"""The longest side of the scan, a row of text, its letters, and the space between tiles."""
LEAST_WIDTH = 460
"""So that the captions fit."""
ROWS = ("the scan, coarsely", "as the scans of training would have it", "what differs: orange a little, white much")
HEAT = np.array([[0, 0, 0], [180, 60, 0], [255, 170, 40], [255, 255, 255]], np.float32)
"""Colours of a difference, from none to as much as the scan's intensities span."""


def write_oddity(
    target: Path, scan: NDArray[np.float32], expected: NDArray[np.float32], *, extent_mm: tuple[float, ...]
) -> None:
    """Write a PNG with planes through the place of the largest difference, in three rows.

    Args:
        target: the file, replaced whole.
        scan: of which the channel that differs most is drawn (C, I, J, K), axes in RAS order, or slices last.
        expected: what the gate's variational autoencoder makes of it.
        extent_mm: of the scan along its axes; slices that lie apart are given an extent of 0, and shown in their plane.
    """
    differences = np.abs(scan - expected)
    channel = int(differences.mean(axis=(1, 2, 3)).argmax())
    own, other, difference = scan[channel], expected[channel], differences[channel]
    place = np.unravel_index(int(difference.argmax()), difference.shape)
    low, high = grey_window(own[None])
    heat = _heat(difference / max(high - low, 1e-6))
    grey = [np.repeat(scaled(each, (low, high))[..., None] * 255, 3, axis=-1) for each in (own, other)]
    axes = (2,) if extent_mm[2] == 0 else (0, 1, 2)
    sizes = [_pixels(size_mm((1, 1, 1), extent_mm, axis), max(extent_mm)) for axis in axes]
    rows = [
        [_tile(colours, axis, int(place[axis]), size=size) for axis, size in zip(axes, sizes, strict=True)]
        for colours in (*grey, heat)
    ]
    with atomic_path(target) as path:
        _sheet(rows).save(path, format="PNG")


def _heat(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (..., 3) of shares, which are cut off at 1."""
    steps = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(shares, steps, HEAT[:, channel]) for channel in range(3)], axis=-1)


def _pixels(size: tuple[float, float], longest: float) -> tuple[int, int]:
    width, height = (max(1, round(TILE_PIXELS * each / longest)) for each in size)
    return width, height


def _tile(colours: NDArray[np.float32], axis: int, index: int, *, size: tuple[int, int]) -> Image.Image:
    plane = np.stack([cut_plane(colours[..., channel], axis, index) for channel in range(3)], axis=-1)
    return Image.fromarray(plane.round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _sheet(rows: list[list[Image.Image]]) -> Image.Image:
    width = max(LEAST_WIDTH, sum(tile.width + GAP for tile in rows[0]) - GAP)
    height = max(tile.height for tile in rows[0])
    sheet = Image.new("RGB", (width, (height + CAPTION_PIXELS) * len(rows)), "black")
    pen = ImageDraw.Draw(sheet)
    for number, (caption, tiles) in enumerate(zip(ROWS, rows, strict=True)):
        top, left = number * (height + CAPTION_PIXELS), 0
        pen.text((4, top + 5), caption, fill="white", font_size=FONT)
        for tile in tiles:
            sheet.paste(tile, (left, top + CAPTION_PIXELS))
            left += tile.width + GAP
    return sheet
