"""Other readers of the formats, which share no code with ours: libraries, and decoders written for these tests.

Each returns the values (C, I, J, K) and the affine, voxel index -> RAS mm; of pictures the affine is None.
"""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy.io import netcdf_file

Reference = tuple[NDArray, NDArray[np.float64] | None]
ReadReference = Callable[[Path], Reference]


def by_nibabel(path: Path) -> Reference:
    """NIfTI, and masks of FreeSurfer."""
    image: Any = nibabel.load(path)
    values = np.asanyarray(image.dataobj)
    shape = (*values.shape[:3], *[1] * (3 - values.ndim))
    return np.moveaxis(values.reshape(*shape, -1), -1, 0), np.asarray(image.affine)


def by_simpleitk(path: Path) -> Reference:
    """NRRD and MetaImage. ITK's x and y run the other way."""
    image = SimpleITK.ReadImage(str(path))
    dimensions = image.GetDimension()
    values = SimpleITK.GetArrayFromImage(image)  # [T,] K, J, I [, C]
    values = values if image.GetNumberOfComponentsPerPixel() > 1 else values[..., None]
    values = values if dimensions == 4 else values[None] if dimensions == 3 else values[None, None]
    array = np.moveaxis(values, 0, -1).T.reshape(-1, *(*image.GetSize(), 1)[:3])  # T or C, I, J, K
    if dimensions == 2:
        return array, None
    directions = np.array(image.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions * image.GetSpacing()[:3], image.GetOrigin()[:3]
    return array, np.diag([-1.0, -1, 1, 1]) @ affine


def by_opencv(path: Path) -> Reference:
    """Pictures of one page; OpenCV has blue first."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape[-1] >= 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[-1])]]
    return pixels.transpose(2, 1, 0)[..., None], None


def by_mgh_specification(path: Path) -> Reference:
    """FreeSurfer's volumes, after https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    version, *dims, kind, _ = struct.unpack(">7i", content[:28])
    (good,) = struct.unpack(">h", content[28:30])
    numbers = np.array(struct.unpack(">15f", content[30:90]))
    assert (version, good) == (1, 1)
    spacing, directions, centre = numbers[:3], numbers[3:12].reshape(3, 3).T, numbers[12:]
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(dims[:3]) / 2)
    dtype = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}[kind]
    values = np.frombuffer(content[284:], dtype, int(np.prod(dims))).reshape(dims, order="F")
    return np.moveaxis(values, -1, 0), affine


def by_afni_attributes(path: Path) -> Reference:
    """AFNI's volumes; directions from ORIENT_SPECIFIC, DELTA and ORIGIN, not from the matrix that nibabel takes."""
    text = path.read_text()
    voxels = next(file for file in path.parent.glob(path.stem + ".BRIK*"))
    stored = gzip.decompress(voxels.read_bytes()) if voxels.suffix == ".gz" else voxels.read_bytes()

    def numbers(name: str) -> list[float]:
        block = text.split(f"{name}\n", 1)[1].split("\n\n")[0].split("\n", 1)[1]
        return [float(word) for word in block.split()]

    sizes = [int(size) for size in (*numbers("DATASET_DIMENSIONS")[:3], numbers("DATASET_RANK")[1])]
    dtype = {1: "i2", 3: "f4"}[int(numbers("BRICK_TYPES")[0])]
    values = np.frombuffer(stored, ("<" if "LSB_FIRST" in text else ">") + dtype).reshape(sizes, order="F")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    origins, deltas = numbers("ORIGIN"), numbers("DELTA")
    for axis, code in enumerate(int(number) for number in numbers("ORIENT_SPECIFIC")):
        along = code // 2  # codes are R-L, L-R, P-A, A-P, I-S, S-I; positions count towards left, back and head
        sign = -1 if along < 2 else 1
        affine[along, axis], affine[along, 3] = sign * deltas[axis], sign * origins[axis]
    scale = np.array(numbers("BRICK_FLOAT_FACS"))
    return np.moveaxis(values * np.where(scale == 0, 1, scale).astype("f4"), -1, 0), affine


def by_scipy(path: Path) -> Reference:
    """MINC 1 without turned axes, whose slices along z (or along time and z) are scaled each on its own."""
    with netcdf_file(path, mmap=False) as file:
        image, variables = file.variables["image"], file.variables
        low, high = (float(end) for end in image.valid_range)
        top, bottom = (np.asarray(variables[name].data, float)[..., None, None] for name in ("image-max", "image-min"))
        stored = np.asarray(image.data).astype(float)
        stored = np.where(stored < 0, stored + 256, stored)  # unsigned bytes, which netCDF does not have
        values = bottom + (stored - low) / (high - low) * (top - bottom)
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for axis, name in enumerate(("zspace", "yspace", "xspace")):
            row = "xyz".index(name[0])
            affine[row, axis], affine[row, 3] = variables[name].step, variables[name].start
    return values.reshape(-1, *values.shape[-3:]), affine


def by_simpleitk_minc(path: Path) -> Reference:
    """MINC 2; ITK takes its right for left and its front for back, and has an order of the axes of its own."""
    values, affine = by_simpleitk(path)
    assert affine is not None
    return values, np.diag([-1.0, -1, 1, 1]) @ affine


def upright(values: NDArray, affine: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.float64]]:
    """Values and affine in RAS order, by nibabel."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(np.moveaxis(values, 0, -1), affine))
    return np.moveaxis(np.asarray(image.dataobj), -1, 0), np.asarray(image.affine)
