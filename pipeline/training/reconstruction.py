"""Training an autoencoder: its loss, and what it makes of validation scans. Tensors are B C D H W."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.augmentation.sample import Sample
from pipeline.config.autoencoder import SSIM_WINDOW, AutoencoderConfig
from pipeline.inference.precision import Compute
from pipeline.losses.code import divergences, sparsity_loss, variational_loss
from pipeline.losses.reconstruction import ReconstructionLoss, as_image
from pipeline.networks.autoencoder import Code, Reconstruction
from pipeline.preprocessing.ranges import thinned
from pipeline.samples.cache import StoredCase
from pipeline.samples.corrupted import corrupted
from pipeline.samples.patches import cut, draw_centre
from pipeline.sizes import as_window

PERCENTILES = (0.5, 99.5)
PLACES = 4
"""Patches of a validation scan that is larger than one."""
ACTIVE_VARIANCE = 0.01
"""Of a unit's mean over scans, above which it says something about them (Burda et al. 2016, arXiv:1509.00519)."""
STREAM = 2
"""Of the random numbers, in a place that those of training do not have: validation draws others."""
SHOWN = 4
"""Cases whose reconstructions are kept, to be drawn."""


@dataclass(frozen=True)
class ValidationPatch:
    """A patch of a validation scan, and how the network sees it.

    Attributes:
        case: name of the scan's case.
        image: what the network sees (C, ...).
        target: the scan as it is, of the same shape.
        counted: the voxels that are to be reconstructed (1, ...).
        box: the part of the patch that lies in the scan.
    """

    case: str
    image: Tensor
    target: Tensor
    counted: Tensor
    box: tuple[slice, ...]

    def of_scan(self, values: Tensor) -> Tensor:
        """What of an array (..., I, J, K) of the patch lies in the scan."""
        index: tuple[Any, ...] = (..., *self.box)
        return values[index]


MakePatch = Callable[[], ValidationPatch]
"""Cuts a validation patch, the same each time: not all of them need be in memory."""


@dataclass(frozen=True, eq=False)
class Reconstructed:
    """What an autoencoder makes of the validation patches.

    Attributes:
        metrics: the mean of each over the patches, of the voxels that are to be reconstructed.
        shown: the first patch of each of the first cases, and its reconstruction (C, ...).
        cases: the case of each patch.
        codes: units of each patch (patches, units); of feature maps, the means over their places.
    """

    metrics: dict[str, float]
    shown: list[tuple[ValidationPatch, Tensor]]
    cases: list[str]
    codes: NDArray[np.float32]


@dataclass(frozen=True)
class ReconstructionObjective:
    """What an autoencoder is trained towards.

    Attributes:
        config: kind of network, losses.
        bounds: between which most intensities lie.
        patches: to validate on, possibly none.
        compute: where the network runs.
        dimensions: 2 or 3.
    """

    config: AutoencoderConfig
    bounds: tuple[float, float]
    patches: Sequence[MakePatch]
    compute: Compute
    dimensions: int

    @cached_property
    def criterion(self) -> ReconstructionLoss:
        """Between output and target."""
        return ReconstructionLoss(self.config.loss, self.bounds, self.dimensions)

    def loss(self, network: nn.Module, batch: Sample, step: int) -> Tensor:
        """The reconstruction's loss, and what the code costs."""
        with self.compute.autocast():
            found: Reconstruction = network(self.compute.place(batch["image"]))
        target = batch["target"].to(self.compute.device)
        counted = batch["counted"].to(self.compute.device)
        loss: Tensor = self.criterion(found.output.float(), target, counted)
        numbers = float(counted.sum()) * target.shape[1] / len(target)  # of an image, as the loss is a mean over them
        return loss + self._code_loss(found, step, numbers=max(numbers, 1.0))

    def _code_loss(self, found: Reconstruction, step: int, *, numbers: float) -> Tensor:
        code, config = found.code, self.config
        if code.log_variance is not None:
            beta = warmed_up(config.variational.beta, step, config.variational.warmup_steps)
            return beta * variational_loss(code.units, code.log_variance, numbers)
        if config.sparsity.weight > 0:
            return config.sparsity.weight * sparsity_loss(code.units, config.sparsity.target_rate)
        return found.output.new_zeros(())

    def validate(self, network: nn.Module) -> Reconstructed | None:
        """Errors, and what the code is like, of patches of validation scans without augmentation."""
        if not self.patches:
            return None
        rows, codes, shown = list[dict[str, float]](), list[Tensor](), dict[str, tuple[ValidationPatch, Tensor]]()
        cases = list[str]()
        for make in self.patches:
            patch = make()
            found = self._run(network, patch)
            image = as_image(found.output.float(), config=self.config.loss, bounds=self.bounds).cpu()
            rows.append(self._errors(image, patch) | self._costs(found.code, patch))
            codes.append(found.code.vectors()[0].cpu())
            cases.append(patch.case)
            if len(shown) < SHOWN:
                shown.setdefault(patch.case, (patch, image[0]))
        names = dict.fromkeys(name for row in rows for name in row)
        metrics = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
        stacked = torch.stack(codes).numpy()
        return Reconstructed(metrics | self._active(stacked), list(shown.values()), cases, stacked)

    def score(self, found: Reconstructed) -> float | None:
        """The lower the mean squared error, and what a variational code costs beside it, the better."""
        return -found.metrics["mse"] - self.config.variational.beta * found.metrics.get("kl_per_number", 0.0)

    def _run(self, network: nn.Module, patch: ValidationPatch) -> Reconstruction:
        with torch.inference_mode(), self.compute.autocast():
            found: Reconstruction = network(self.compute.place(patch.image[None]))
        return found

    def _errors(self, image: Tensor, patch: ValidationPatch) -> dict[str, float]:
        """Of the image, and of what the network saw, for comparison where that is another one."""
        spread, counted = self.bounds[1] - self.bounds[0], patch.counted.expand_as(patch.target)
        difference = (image[0] - patch.target)[counted]
        mse = float((difference**2).mean())
        errors = {
            "mse": mse,
            "l1": float(difference.abs().mean()),
            "psnr": 10 * float(np.log10(spread**2 / max(mse, 1e-12))),
        }
        if self.config.kind == "denoising":
            errors["input_mse"] = float(((patch.image - patch.target)[counted] ** 2).mean())
        made, scan = patch.of_scan(image), patch.of_scan(patch.target[None])
        if not self.config.corruption.only_masked and min(scan.shape[2:]) >= SSIM_WINDOW:
            errors["ssim"] = float(self.criterion.similarity(made, scan))
        return errors

    def _costs(self, code: Code, patch: ValidationPatch) -> dict[str, float]:
        """What is known of the code of one patch."""
        if code.log_variance is not None:
            by_unit = divergences(code.units, code.log_variance)
            kl, numbers = float(by_unit.sum()), int(patch.counted.sum()) * len(patch.target)
            return {"kl": kl, "kl_per_unit": float(by_unit.mean()), "kl_per_number": kl / numbers}
        if self.config.kind == "sparse":
            return {"active_share": float((code.units > 0).float().mean())}
        return {}

    def _active(self, codes: NDArray[np.float32]) -> dict[str, float]:
        """Units of a variational vector that say something about the scans: their means differ."""
        if self.config.kind != "variational" or self.config.code_size is None or len(codes) < 2:
            return {}
        return {"active_units": float((codes.var(0) > ACTIVE_VARIANCE).sum())}


def warmed_up(weight: float, step: int, warmup_steps: int) -> float:
    """A weight that rises linearly over the first steps."""
    return weight * min(1.0, (step + 1) / warmup_steps) if warmup_steps else weight


def validation_patches(
    cases: Sequence[StoredCase], config: AutoencoderConfig, patch_size: tuple[int, ...], *, seed: int
) -> list[MakePatch]:
    """The middle of each scan, or some places in it where it is larger than a patch; the same each time.

    Args:
        cases: the scans.
        config: what is done to the copies that the network sees; axes are those of the patches.
        patch_size: of the network's input.
        seed: of the places and of what is done.
    """
    window, patches = as_window(patch_size), list[MakePatch]()
    for number, case in enumerate(cases):
        larger = any(n > p for n, p in zip(case.shape, window, strict=True))
        for place in range(PLACES if larger else 1):
            patches.append(partial(_cut, case, config, patch_size, stream=(seed, number, place, STREAM)))
    return patches


def _cut(
    case: StoredCase, config: AutoencoderConfig, patch_size: tuple[int, ...], *, stream: tuple[int, ...]
) -> ValidationPatch:
    window, rng = as_window(patch_size), np.random.default_rng(stream)
    image, inside, _ = cut(case, draw_centre(case, window, foreground=0, rng=rng), window)
    if len(patch_size) < len(window):
        image, inside = image[..., 0], inside[..., 0]
    within = torch.from_numpy(inside > 0)
    sample = corrupted(torch.from_numpy(image), within[None], config.corruption, rng=rng)
    return ValidationPatch(case.name, sample["image"], sample["target"], sample["counted"], _box(within))


def _box(inside: Tensor) -> tuple[slice, ...]:
    """The box that the true voxels fill: scans are boxes."""
    places = inside.nonzero()
    return tuple(slice(int(low), int(high) + 1) for low, high in zip(places.amin(0), places.amax(0), strict=True))


def intensity_bounds(cases: Sequence[StoredCase]) -> tuple[float, float]:
    """Between which most normalised intensities lie: the medians over scans of their 0.5 and 99.5 percentile."""
    found = np.array([np.percentile(thinned(case.image()), PERCENTILES) for case in cases])
    low, high = np.median(found, axis=0)
    return float(low), float(max(high, low + 1e-3))
