"""What is done to the input of a denoising network. Patches are C I J K, or C I J of images."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from pipeline.config.autoencoder import CorruptionConfig

MODES = {2: "bilinear", 3: "trilinear"}


def corrupt(image: Tensor, config: CorruptionConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A patch that is harder to make out, and the voxels of it that were masked.

    Resolution is lowered first, then the patch is blurred, then comes noise, and blocks are masked at last.

    Args:
        image: (C, ...), normalised, so that 0 is nothing out of the ordinary.
        config: what is done; `downsampling_axes` are those of the patch.
        rng: the patch's own generator.

    Returns:
        The patch, and the masked voxels (1, ...), bool.
    """
    if config.lowers_resolution:
        image = lower_resolution(image, rng.uniform(*config.downsampling), config.downsampling_axes)
    if config.blur_voxels[1] > 0:
        image = _blurred(image, rng.uniform(*config.blur_voxels))
    if config.noise[1] > 0:
        image = image + _noise(image.shape, rng.uniform(*config.noise), rng)
    if config.coarse_noise[1] > 0:
        std = rng.uniform(*config.coarse_noise)
        image = image + coarse_noise(image.shape, std, config.coarse_noise_voxels, rng=rng)
    masked = masked_blocks(image.shape[1:], config.masked_share, config.masked_block_voxels, rng=rng)
    return image.masked_fill(masked, 0.0), masked


def lower_resolution(image: Tensor, factor: float, axes: Sequence[int]) -> Tensor:
    """An image (C, ...) as if it had been taken with fewer and thicker voxels, at its own size.

    Along the axes, voxels are averaged over so many as the factor says, and linear interpolation brings the size back.
    """
    size = list(image.shape[1:])
    fewer = [max(1, round(n / factor)) if axis in axes else n for axis, n in enumerate(size)]
    coarse = functional.interpolate(image[None], fewer, mode="area")
    return functional.interpolate(coarse, size, mode=MODES[len(size)], align_corners=False)[0]


def coarse_noise(shape: Sequence[int], std: float, voxels: int, *, rng: np.random.Generator) -> Tensor:
    """Noise (C, ...) that is drawn once in so many voxels and interpolated (Kascenas et al. 2022, MIDL, section 3.1).

    The grid is shifted at random, so that its points are not always at the same places.
    """
    channels, *size = shape
    grid = [-(-n // voxels) + 1 for n in size]
    drawn = _noise((channels, *grid), std, rng)[None]
    smooth = functional.interpolate(drawn, [n * voxels for n in grid], mode=MODES[len(size)], align_corners=False)[0]
    starts = [int(rng.integers(n * voxels - wanted + 1)) for n, wanted in zip(grid, size, strict=True)]
    box = tuple(slice(start, start + wanted) for start, wanted in zip(starts, size, strict=True))
    return smooth[(slice(None), *box)]


def masked_blocks(size: Sequence[int], share: float, voxels: int, *, rng: np.random.Generator) -> Tensor:
    """Blocks of a grid that are masked, to the nearest block as large a share of them as is given (1, ...), bool."""
    if share == 0:
        return torch.zeros(1, *size, dtype=torch.bool)
    grid = [-(-n // voxels) for n in size]
    blocks = np.zeros(int(np.prod(grid)), bool)
    blocks[rng.permutation(len(blocks))[: round(share * len(blocks))]] = True
    masked = torch.from_numpy(blocks.reshape(grid))
    for axis in range(len(size)):
        masked = masked.repeat_interleave(voxels, axis)
    return masked[tuple(slice(0, n) for n in size)][None]


def _noise(shape: Sequence[int], std: float, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(std * rng.standard_normal(tuple(shape), dtype=np.float32))


def _blurred(image: Tensor, sigma_voxels: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, *[sigma_voxels] * (image.ndim - 1))))
