"""Augmentation of 2D patches, the only user of albumentations.

Arrays are C H W. The patch arrives larger than the network's input, as that of a volume does. Everything that moves
its pixels is worked out first, as the place in the source that each of them comes from, and applied in one go: an image
that is turned and deformed is interpolated once, and finds content outside the patch.

Albumentations is no longer maintained. What is used of it was read with normalised images in mind, float and not bound
to [0, 1], and the rest is left alone:

- Its transforms of brightness, contrast, gamma and noise cut float images off at 0 and 1; MONAI's do not, and make both
  kinds of patches alike (see `intensities`).
- Hue and saturation stay float, cut off at 0 and 1: an image is mapped there by its own range, and back.
  `HueSaturationValue` would make eight bits of it, which `ColorJitter` does not.
- Compression makes eight bits of a float image: only what JPEG does to them is added to it.
- `Compose.set_random_seed` gives each transform the same seed, so that one happens whenever a rarer one does. Whether
  something happens is drawn here, and a transform that draws for itself gets generators of its own.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, cos, radians, sin
from typing import Any

import cv2
import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray

from pipeline.augmentation.intensities import intensities, seeded
from pipeline.augmentation.sample import MAX_SEED, Sample, label_tensor
from pipeline.augmentation.source import PLANE
from pipeline.config.augmentation import COLOURS, AugmentationConfig, check_channels
from pipeline.threads import one_thread

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks the network for a newer version where this is not set

import albumentations as al
from albumentations.augmentations.geometric.functional import generate_displacement_fields

LEVELS = 255
"""Of the eight bits that JPEG knows, above 0."""


class ImageAugmentation:
    """Draws and applies the changes of one sample; the same seed gives the same sample in any process.

    Args:
        config: probabilities and ranges.
        patch_size: size of the result (H, W).
    """

    def __init__(self, config: AugmentationConfig, patch_size: tuple[int, ...]) -> None:
        self.config = config
        self.patch_size = patch_size
        self.mirror_axes = [axis for axis in config.mirror_axes if axis < PLANE]
        self.distortion = _Distortion(config, patch_size)
        self.intensities = Compose(intensities(config, PLANE))
        turn, saturation = config.colour_hue_degrees / 360, config.colour_saturation_range
        self.colour = al.ColorJitter((1, 1), (1, 1), saturation=saturation, hue=(-turn, turn), p=1.0)
        self.compression = al.ImageCompression("jpeg", config.compression_quality_range, p=1.0)

    def __call__(
        self,
        image: NDArray[np.float32],
        labels: NDArray[np.integer],
        rng: np.random.Generator,
        *,
        weights: NDArray[np.float32] | None = None,
    ) -> Sample:
        """Augment a patch, as `Augmentation` says; arrays are (C, H, W).

        Raises:
            ConfigError: colours are to be changed, and the image has none.
        """
        check_channels(len(image), self.config)
        with one_thread(), _one_opencv_thread():
            move = self._draw_movement(rng, image.shape[1:])
            sample = {
                "image": torch.from_numpy(self._change(move(image, cv2.INTER_LINEAR), rng)),
                "labels": torch.from_numpy(move(label_tensor(labels).numpy(), cv2.INTER_NEAREST)),
            }
            if weights is not None:
                sample["weights"] = torch.from_numpy(move(weights, cv2.INTER_LINEAR))
        return sample

    def _draw_movement(
        self, rng: np.random.Generator, source: tuple[int, ...]
    ) -> Callable[[NDArray, int], NDArray[Any]]:
        """What turns an array of the source's size into one of the patch's, given how to interpolate."""
        origin = self._draw_origin(rng, source)
        flips = tuple(axis + 1 for axis in self.mirror_axes if rng.random() < 0.5)

        def move(array: NDArray, interpolation: int) -> NDArray:
            moved = _middle(array, self.patch_size) if origin is None else _remap(array, origin, interpolation)
            return np.flip(moved, flips).copy()  # torch takes no negative strides

        return move

    def _draw_origin(self, rng: np.random.Generator, source: tuple[int, ...]) -> NDArray[np.float32] | None:
        """The point of the source that each pixel shows (2, H, W); None where they are those of its middle."""
        matrix, offsets = _draw_matrix(self.config, rng), self._draw_offsets(rng)
        if matrix is None and not offsets:
            return None
        middles = [
            np.array([(n - 1) / 2 for n in size], np.float32)[:, None, None] for size in (self.patch_size, source)
        ]
        places = np.indices(self.patch_size, dtype=np.float32) - middles[0] + sum(offsets)
        if matrix is not None:
            places = np.stack([a * places[0] + b * places[1] for a, b in matrix])  # the same bits with any BLAS
        return places + middles[1]

    def _draw_offsets(self, rng: np.random.Generator) -> list[NDArray[np.float32]]:
        """How far from its own place each pixel looks, for the deformations that happen (2, H, W)."""
        config, offsets = self.config, []
        if rng.random() < config.elastic:
            sigma, magnitude = rng.uniform(*config.elastic_sigma_voxels), rng.uniform(*config.elastic_magnitude_voxels)
            offsets.append(elastic_offsets(self.patch_size, sigma, magnitude, rng=rng))
        if rng.random() < config.grid_distortion:
            offsets.append(self.distortion.draw_offsets(rng))
        return offsets

    def _change(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Change the intensities, in the order in which it happens to a picture: stored files come last."""
        image = seeded(self.intensities, rng)({"image": torch.from_numpy(image)})["image"].numpy()
        if rng.random() < self.config.colour:
            image = _recolour(image, _with_generators(self.colour, rng))
        if rng.random() < self.config.compression:
            image = _compress(image, _with_generators(self.compression, rng))
        return np.ascontiguousarray(image, dtype=np.float32)


class _Distortion:
    """Albumentations' grid distortion as offsets from its map at rest, which repeats a pixel after each band."""

    def __init__(self, config: AugmentationConfig, patch_size: tuple[int, ...]) -> None:
        self.patch_size = patch_size
        steps = min(config.grid_distortion_steps, *patch_size)
        self.transform = al.GridDistortion(steps, config.grid_distortion_limit, p=1.0)
        self.rest = self._map(al.GridDistortion(steps, 0.0, p=1.0))

    def draw_offsets(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """How far from its own place each pixel looks (2, H, W)."""
        return self._map(_with_generators(self.transform, rng)) - self.rest

    def _map(self, transform: al.GridDistortion) -> NDArray[np.float32]:
        maps = transform.get_params_dependent_on_data({"shape": self.patch_size}, {})
        return np.stack([maps["map_y"], maps["map_x"]])


def elastic_offsets(
    size: tuple[int, ...], sigma: float, magnitude: float, *, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Random offsets of pixels (2, H, W): uniform noise within ``magnitude``, smoothed by a Gaussian of ``sigma``.

    As for the U-Net (Ronneberger et al. 2015, section 3.1) they are drawn on a coarse grid and interpolated by cubics,
    which changes nothing in a field that is smooth, and takes the same time for any smoothness. Smoothing a plane
    divides the spread of noise by twice the root of pi times sigma, counted in pixels of the grid: where these are k
    times as wide, sigma is k times smaller there, and so must the noise be. Its spread is magnitude / sqrt(3), so that
    the offsets have one of magnitude / (2 sqrt(3 pi) sigma): 2.5 pixels for 100 and 6.5.

    A margin of four sigmas is cut off again, in which what lies beyond the grid would show, and one axis in the other:
    albumentations smooths both as one picture.
    """
    coarseness = max(1.0, sigma / 2)
    coarse = [max(1, round(n / coarseness)) for n in size]
    margin = ceil(4 * sigma / coarseness)
    fields = generate_displacement_fields(
        tuple(n + 2 * margin for n in coarse),
        alpha=magnitude / coarseness,
        sigma=sigma / coarseness,
        same_dxdy=False,
        kernel_size=(0, 0),
        random_generator=rng,
        noise_distribution="uniform",
    )
    inside = tuple(slice(margin, margin + n) for n in coarse)
    return np.stack([cv2.resize(field[inside], size[::-1], interpolation=cv2.INTER_CUBIC) for field in fields])


def _draw_matrix(config: AugmentationConfig, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """From the way that a pixel lies from the patch's middle to the way that its origin lies from the source's.

    What is enlarged is read from fewer pixels, so that factors count by their inverse, along each axis by its own; both
    are drawn as MONAI draws them for volumes.
    """
    rotated, scaled = rng.random() < config.rotation, rng.random() < config.scaling
    if not (rotated or scaled):
        return None
    angle = radians(rng.uniform(-1, 1) * config.rotation_degrees[2]) if rotated else 0.0
    smaller, larger = config.scaling_range
    steps = rng.uniform(1 / larger, 1 / smaller, PLANE) if scaled else np.ones(PLANE)
    rotation = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    return (rotation * steps).astype(np.float32)


def _middle(array: NDArray, size: tuple[int, ...]) -> NDArray:
    """The part (..., H, W) whose middle pixel is that of the array, as patches are cut."""
    starts = [n // 2 - m // 2 for n, m in zip(array.shape[1:], size, strict=True)]
    return array[:, *(slice(start, start + m) for start, m in zip(starts, size, strict=True))]


def _remap(array: NDArray, origin: NDArray[np.float32], interpolation: int) -> NDArray:
    """The values (C, H, W) at points of the array, 0 outside it; channel by channel, as OpenCV takes four at most."""
    rows, columns = origin
    return np.stack(
        [
            cv2.remap(channel, columns, rows, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
            for channel in array
        ]
    )


def _recolour(image: NDArray[np.float32], transform: al.ColorJitter) -> NDArray[np.float32]:
    low, extent = image.min(), np.ptp(image)
    if extent == 0:
        return image
    changed = transform(image=np.moveaxis((image - low) / extent, 0, -1))["image"]
    return low + extent * np.moveaxis(changed, -1, 0)


def _compress(image: NDArray[np.float32], transform: al.ImageCompression) -> NDArray[np.float32]:
    """Add what JPEG does to the eight bits of an image: three channels are colours, others are stored one by one."""
    low, step = image.min(), np.ptp(image) / np.float32(LEVELS)
    if step == 0:
        return image
    before = np.rint((image - low) / step).astype(np.uint8)
    after = np.empty_like(before)
    files = [[2, 1, 0]] if len(image) == COLOURS else [[channel] for channel in range(len(image))]  # OpenCV's are BGR
    for channels in files:
        after[channels] = np.moveaxis(transform(image=np.moveaxis(before[channels], 0, -1))["image"], -1, 0)
    return image + (after.astype(np.float32) - before) * step


def _with_generators(transform: Any, rng: np.random.Generator) -> Any:
    """The transform, whose next random numbers of both kinds follow from those of ``rng``."""
    transform.set_random_state(rng, random.Random(int(rng.integers(MAX_SEED))))
    return transform


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """OpenCV on the calling thread alone, which it calls 0 threads, for the reason of `threads.one_thread`."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
