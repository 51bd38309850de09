"""Make the synthetic data set `cells`: the same pixels on every run.

Each image shows stained cells, some of which touch, with a dark rim, among spots of the same colour without one: what
tells them apart is the rim, and no colour does. Masks are grey, 255 inside a cell, with edges blurred by a pixel, as
those that programs for drawing export; 127 divides them.

Arrays are rows and columns, those of colours with a last axis of three.

Example:
    python data_samples/make_cells.py
"""

import json
import logging
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float64]
Region = NDArray[np.bool_]

FOLDER = Path(__file__).parent / "cells"
SEED = 20261125
LABELLED, UNLABELLED = 20, 4
SIDE = 128
CELLS, SPOTS = (5, 9), (14, 22)
RADIUS = (8.0, 13.0)
RIM = 2.0
"""Width of a cell's rim in pixels."""
TOUCHING = 0.5
"""Share of the cells that are set against the one before."""
GROUND, STAIN, DARK = np.array([236.0, 214.0, 226.0]), np.array([178.0, 118.0, 176.0]), np.array([104.0, 58.0, 126.0])
LIGHT = 0.18
"""How far the light falls off towards a side, as a share."""
NOISE = 7.0
"""Standard deviation of the noise, of 255."""


def make_case(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The image (rows, columns, 3) and the mask (rows, columns) of that number, from a stream of its own."""
    rng = np.random.default_rng([SEED, index])
    cells = draw_cells(rng)
    inside = np.any(cells, axis=0)
    painted = np.broadcast_to(GROUND, (SIDE, SIDE, 3)).copy()
    for spot in draw_spots(rng, inside):
        painted[spot] = STAIN + rng.normal(0, 6, 3)
    for cell in cells:
        depth = ndimage.distance_transform_edt(cell)
        painted[cell] = STAIN + rng.normal(0, 6, 3)
        painted[cell & (depth <= RIM)] = DARK
    image = expose(rng, painted)
    mask = np.rint(255 * ndimage.gaussian_filter(inside.astype(float), 0.6)).astype(np.uint8)
    return image, mask


def draw_cells(rng: Generator) -> list[Region]:
    """Regions of cells, none of which covers another; some lie against the one before."""
    cells: list[Region] = []
    taken, centre, radius = np.zeros((SIDE, SIDE), bool), np.full(2, SIDE / 2), 0.0
    for number in range(int(rng.integers(*CELLS))):
        wanted = rng.uniform(*RADIUS)
        angle = rng.uniform(0, 2 * np.pi)
        beside = centre + (radius + wanted - 1) * np.array([np.cos(angle), np.sin(angle)])
        touches = number > 0 and rng.random() < TOUCHING and np.all((beside > wanted) & (beside < SIDE - wanted))
        centre = beside if touches else rng.uniform(wanted, SIDE - wanted, 2)
        radius = wanted
        cell = disc(rng, centre, radius) & ~taken
        if cell.sum() > 0.8 * np.pi * radius**2:
            cells.append(largest(cell))
            taken |= ndimage.binary_dilation(cells[-1])
    return cells


def draw_spots(rng: Generator, cells: Region) -> list[Region]:
    """Regions of the stain alone, apart from the cells."""
    near = ndimage.binary_dilation(cells, iterations=3)
    spots = (disc(rng, rng.uniform(0, SIDE, 2), rng.uniform(*RADIUS)) for _ in range(int(rng.integers(*SPOTS))))
    return [spot for spot in spots if not (spot & near).any()]


def disc(rng: Generator, centre: Array, radius: float) -> Region:
    """A disc with a dented edge."""
    rows, columns = np.indices((SIDE, SIDE))
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    dents = sum(0.05 * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    return np.hypot(rows - centre[0], columns - centre[1]) < radius * (1 + dents)


def largest(region: Region) -> Region:
    """The largest of its connected parts."""
    parts, count = ndimage.label(region)
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax() if count > 1 else region


def expose(rng: Generator, painted: Array) -> NDArray[np.uint8]:
    """What a camera sees: light that falls off towards a side, borders that cross pixels, and noise."""
    direction = rng.uniform(0, 2 * np.pi)
    rows, columns = np.indices((SIDE, SIDE)) / (SIDE - 1) - 0.5
    light = 1 - LIGHT * (0.5 + rows * np.sin(direction) + columns * np.cos(direction)) * rng.uniform(0.5, 1)
    blurred = ndimage.gaussian_filter(painted, (0.7, 0.7, 0)) * light[..., None]
    return np.clip(np.rint(blurred + rng.normal(0, NOISE, blurred.shape)), 0, 255).astype(np.uint8)


def main(folder: Path = FOLDER) -> None:
    """Write images, masks, new_images and dataset.json into ``folder``."""
    for part in ("images", "masks", "new_images"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(LABELLED + UNLABELLED):
        image, mask = make_case(index)
        name = f"cells_{index + 1:03d}.png"
        part = "images" if index < LABELLED else "new_images"
        Image.fromarray(image).save(folder / part / name, optimize=True)
        if index < LABELLED:
            Image.fromarray(mask).save(folder / "masks" / name, optimize=True)
    content = {"name": "Cells", "licence": "CC0-1.0", "labels": {"cell": 1}, "modality": {"0": "R", "1": "G", "2": "B"}}
    (folder / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    logging.info("wrote %d images to %s", LABELLED + UNLABELLED, folder)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
