"""Training an autoencoder: everything that `medseg pretrain` needs to know."""

import math

from pipeline import sizes
from pipeline.config.autoencoder import SSIM_WINDOW, AutoencoderConfig
from pipeline.config.experiment import Experiment
from pipeline.config.network import NetworkConfig


class PretrainingConfig(Experiment):
    """An experiment without masks: everything that `medseg pretrain` needs to know."""

    autoencoder: AutoencoderConfig = AutoencoderConfig()

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Of the code of one patch: (code_size,), or (code_channels, ...)."""
        return code_shape(self.network, self.autoencoder, self.training.patch_size)

    def _size_problems(self) -> list[str]:
        problems = super()._size_problems()
        return problems or [*self._skip_problems(), *self._code_problems(), *self._patch_problems()]

    def _augmentation_problems(self) -> list[str]:
        """What is done to the target of a denoising network would be learnt as what a clean scan looks like."""
        problems = super()._augmentation_problems()
        if self.tracking.register_as is not None:
            problems.append("tracking.register_as is for models that segment; set it to null")
        if self.autoencoder.kind == "denoising":
            problems += [
                f"augmentation.{name} would spoil the scans that a denoising network is to give back; set it to 0"
                for name in ("noise", "blur", "low_resolution", "compression")
                if getattr(self.augmentation, name) > 0
            ]
        return problems

    def _patch_problems(self) -> list[str]:
        """What would end a run after minutes of reading, or make it learn nothing."""
        problems, patch, corruption = [], self.training.patch_size, self.autoencoder.corruption
        if self.autoencoder.loss.ssim > 0 and min(patch) < SSIM_WINDOW:
            problems.append(f"loss.ssim needs {SSIM_WINDOW} voxels or more along each axis of the patch, found {patch}")
        blocks = math.prod(-(-n // corruption.masked_block_voxels) for n in patch)
        if corruption.masked_share > 0 and round(corruption.masked_share * blocks) == 0:
            problems.append(f"corruption.masked_share of {corruption.masked_share} masks none of {blocks} blocks")
        return problems

    def _skip_problems(self) -> list[str]:
        problems = []
        if self.network.deep_supervision > 0:
            problems.append("network.deep_supervision is for masks; set it to 0")
        if any(self.network.stage_skips()) and self.autoencoder.kind != "denoising":
            problems.append(
                f"network.skips must all be false for kind {self.autoencoder.kind}: what passes beside the code "
                "need not be in it"
            )
        return problems

    def _code_problems(self) -> list[str]:
        """What the kinds promise of the code's size, a channel of the scan at a time."""
        code, patch = math.prod(self.code_shape), math.prod(self.training.patch_size)
        if self.autoencoder.kind == "undercomplete" and code >= patch:
            return [f"the code of an undercomplete network must be smaller than its patch, found {code} and {patch}"]
        if self.autoencoder.kind == "sparse" and code < patch:
            return [f"the code of a sparse network must not be smaller than its patch, found {code} and {patch}"]
        return []


def code_shape(network: NetworkConfig, config: AutoencoderConfig, patch_size: tuple[int, ...]) -> tuple[int, ...]:
    """Of the code of one patch: (code_size,), or (code_channels, ...)."""
    if config.code_size is not None:
        return (config.code_size,)
    reached = sizes.trace(patch_size, network.encoder_windows())[-1]
    return (config.code_channels or network.features[-1], *reached)
