"""Make the synthetic data set `shapes`: the same voxels on every run.

Each volume holds one structure, a dented ellipsoid with a bright front (anterior) and a dark back (posterior), among
blobs that are bright or dark alone. What tells the structure from the blobs is that its two parts touch. A smooth
multiplicative field, as that of an MR coil, changes the tissue by more than the parts differ from it, so that no
intensity separates them; their borders stay sharp.

Positions are in mm along the RAS axes, from the centre of the volume. Arrays are I J K; those of positions have a last
axis of three.

Example:
    python data_samples/make_samples.py
"""

import gzip
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel import affines, orientations
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.uint8]
Region = NDArray[np.bool_]

FOLDER = Path(__file__).parent / "shapes"
SEED = 20261123
LABELLED, UNLABELLED = 20, 4
BACKGROUND, ANTERIOR, POSTERIOR = 0, 1, 2
ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR", "ASR")
STRUCTURE_RADII_MM = (8.0, 12.0, 8.0)
DENTS_MM = (12.0, 24.0)
"""Wavelengths of the dents in the structure's and the blobs' surfaces."""
BLOB_SIGNS = (1, -1, 1, -1)
"""The blobs of a volume in the order in which they are placed: 1 brighter than the tissue, -1 darker."""
BLOB_RADIUS_MM = 9.0
GAP_MM = 2.5
"""Tissue between any two of the structure and the blobs; without it a bright and a dark blob would be a structure."""
FIELD_MM = (50.0, 90.0)
"""Wavelengths of the multiplicative field, longer than the volume is wide."""
FIELD_AMPLITUDE = 0.25
NOISE = 0.04
"""Standard deviation of the noise, in units of the tissue's intensity."""


@dataclass(frozen=True)
class Case:
    """A volume and its mask, with their axes in the order in which they are stored.

    Attributes:
        image: intensities (I, J, K), uint8 or int16.
        mask: BACKGROUND, ANTERIOR or POSTERIOR (I, J, K).
        affine: voxel index -> RAS mm.
    """

    image: NDArray[np.integer]
    mask: Mask
    affine: Array


@dataclass(frozen=True)
class Grid:
    """Voxels along R, A and S whose middle is the origin."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def affine(self) -> Array:
        """Voxel index -> RAS mm."""
        spacing = np.array(self.spacing_mm)
        return affines.from_matvec(np.diag(spacing), -spacing * (np.array(self.shape) - 1) / 2)

    @property
    def points(self) -> Array:
        """The position of every voxel in mm, (I, J, K, 3)."""
        return affines.apply_affine(self.affine, np.moveaxis(np.indices(self.shape), 0, -1))


def make_case(index: int) -> Case:
    """The case of that number, drawn from its own stream of random numbers."""
    rng = np.random.default_rng([SEED, index])
    grid = draw_grid(rng)
    mask = draw_structure(rng, grid)
    blobs = draw_blobs(rng, grid, mask)
    tissue = ndimage.gaussian_filter(paint(rng, mask, blobs), sigma=0.5)  # borders cross voxels
    signal = tissue * np.exp(FIELD_AMPLITUDE * waves(rng, grid.points, FIELD_MM))
    kind = np.uint8 if index % 4 == 0 else np.int16
    return reorient(Case(acquire(rng, signal).astype(kind), mask, grid.affine), ORIENTATIONS[index % len(ORIENTATIONS)])


def draw_grid(rng: Generator) -> Grid:
    """About 40 x 45 x 36 voxels of 1.0 to 1.2 mm."""
    shape = rng.integers((38, 43, 34), (43, 48, 39))
    spacing_mm = rng.uniform(1.0, 1.2, 3).round(2)
    return Grid(tuple(shape.tolist()), tuple(spacing_mm.tolist()))


def waves(rng: Generator, points: Array, wavelengths_mm: tuple[float, float]) -> Array:
    """The sum of three plane waves of random direction, length and phase; from -3 to 3, its mean square is 3/2."""
    directions = rng.normal(size=(3, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths_mm, phases = rng.uniform(*wavelengths_mm, 3), rng.uniform(0, 1, 3)
    cycles = points @ (directions / lengths_mm[:, None]).T + phases
    return np.cos(2 * np.pi * cycles).sum(axis=-1)


def rotation(rng: Generator, largest_degrees: float) -> Array:
    """A 3x3 matrix that turns about R, then A, then S, by up to that many degrees each."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-largest_degrees, largest_degrees, 3))):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -np.sin(angle)
        turned = turn @ turned
    return turned


def draw_structure(rng: Generator, grid: Grid) -> Mask:
    """The mask: somewhere about the middle, an ellipsoid, turned and dented, with a dented border between its parts."""
    own = (grid.points - rng.uniform(-5, 5, 3)) @ rotation(rng, 25)  # positions along the ellipsoid's own axes
    radii_mm = np.array(STRUCTURE_RADII_MM) * rng.uniform(0.9, 1.1, 3)
    inside = np.linalg.norm(own / radii_mm, axis=-1) < 1 + 0.04 * waves(rng, grid.points, DENTS_MM)
    border_mm = rng.uniform(-2, 2) + 0.5 * waves(rng, grid.points, DENTS_MM)
    parts = np.where(own[..., 1] > border_mm, ANTERIOR, POSTERIOR)
    return np.where(inside, parts, BACKGROUND).astype(np.uint8)


def draw_blobs(rng: Generator, grid: Grid, mask: Mask) -> list[Region]:
    """A region for each of BLOB_SIGNS, apart from the structure and from each other."""
    blobs: list[Region] = []
    taken = mask != BACKGROUND
    for _ in BLOB_SIGNS:
        blobs.append(draw_blob(rng, grid, taken))
        taken = taken | blobs[-1]
    return blobs


def draw_blob(rng: Generator, grid: Grid, taken: Region) -> Region:
    """A dented ball of about BLOB_RADIUS_MM, or as large as there is room for, GAP_MM from what is taken."""
    clearance_mm = ndimage.distance_transform_edt(~taken, sampling=grid.spacing_mm)
    room_mm = np.where(well_inside(grid), clearance_mm - GAP_MM, 0)
    radius_mm = min(BLOB_RADIUS_MM * rng.uniform(0.9, 1.1), room_mm.max())
    centre = rng.choice(grid.points[room_mm >= radius_mm])
    surface = 1 + 0.04 * waves(rng, grid.points, DENTS_MM)
    return (np.linalg.norm((grid.points - centre) / radius_mm, axis=-1) < surface) & (clearance_mm > GAP_MM)


def well_inside(grid: Grid) -> Region:
    """Where a blob may have its centre: at most half of it is cut off by the volume's edge."""
    half_mm = np.abs(grid.points[0, 0, 0])
    return (np.abs(grid.points) <= half_mm - BLOB_RADIUS_MM / 2).all(axis=-1)


def paint(rng: Generator, mask: Mask, blobs: list[Region]) -> Array:
    """The intensities under even light: tissue 1, the anterior part and bright blobs above, the others below."""
    contrast = rng.uniform(0.35, 0.5)
    painted = np.ones(mask.shape)
    painted[mask == ANTERIOR] += contrast
    painted[mask == POSTERIOR] -= contrast
    for sign, blob in zip(BLOB_SIGNS, blobs, strict=True):
        painted[blob] += sign * contrast * rng.uniform(0.9, 1.1)
    return painted


def acquire(rng: Generator, signal: Array) -> Array:
    """Add Rician noise, as in MR magnitude images, and scale so that the brightest voxel has a value of 120 to 255."""
    real, imaginary = rng.normal(scale=NOISE, size=(2, *signal.shape))
    magnitude = np.hypot(signal + real, imaginary)
    return np.rint(magnitude * rng.uniform(120, 255) / magnitude.max())


def reorient(case: Case, codes: str) -> Case:
    """The same case with its axes stored in the order and directions of ``codes``, e.g. ``"LPS"``."""
    order = orientations.ornt_transform(orientations.io_orientation(case.affine), orientations.axcodes2ornt(codes))
    affine = case.affine @ orientations.inv_ornt_aff(order, case.image.shape)
    image, mask = (orientations.apply_orientation(array, order) for array in (case.image, case.mask))
    return Case(image, mask, affine)


def nifti_bytes(array: NDArray, affine: Array) -> bytes:
    """A gzip-compressed NIfTI-1 file with qform and sform code 1, without the time at which it was made."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(array), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)


def description(labelled: list[str], unlabelled: list[str]) -> dict[str, object]:
    """dataset.json in the layout of the Medical Segmentation Decathlon."""
    return {
        "name": "Shapes",
        "description": "Synthetic volumes with a structure in two parts, made by data_samples/make_samples.py",
        "licence": "CC0-1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {str(BACKGROUND): "background", str(ANTERIOR): "anterior", str(POSTERIOR): "posterior"},
        "numTraining": len(labelled),
        "numTest": len(unlabelled),
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in labelled],
        "test": [f"./imagesTs/{name}" for name in unlabelled],
    }


def main(folder: Path = FOLDER) -> None:
    """Write dataset.json, imagesTr, labelsTr and imagesTs into ``folder``."""
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names = [f"shapes_{index + 1:03d}.nii.gz" for index in range(LABELLED + UNLABELLED)]
    for index, name in enumerate(names):
        case = make_case(index)
        part = "imagesTr" if index < LABELLED else "imagesTs"
        (folder / part / name).write_bytes(nifti_bytes(case.image, case.affine))
        if index < LABELLED:
            (folder / "labelsTr" / name).write_bytes(nifti_bytes(case.mask, case.affine))
    content = description(names[:LABELLED], names[LABELLED:])
    (folder / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    logging.info("wrote %d cases to %s", len(names), folder)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
