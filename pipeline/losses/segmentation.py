"""What a network that segments minimises.

A new loss is a function of logits (B, classes, ...), what they should be, and the settings, and its line in `LOSSES`
(docs/extending.md). Tensors are B C D H W, or B C H W for images; 1 stands for a single channel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.training import LossConfig
from pipeline.errors import ConfigError
from pipeline.preprocessing.labels import IGNORED

SMOOTH = 1e-5


@dataclass(frozen=True, eq=False)
class Target:
    """What the logits should be.

    Attributes:
        labels: class numbers (B, 1, ...), or `IGNORED` where nothing is wanted.
        weights: what each voxel counts for in losses that are means over voxels (B, 1, ...); None: all count alike.
    """

    labels: Tensor
    weights: Tensor | None = None

    @property
    def counted(self) -> Tensor:
        """Where something is wanted (B, 1, ...)."""
        return self.labels != IGNORED

    def at(self, like: Tensor) -> "Target":
        """The same at the resolution of a coarser level, each voxel as the nearest one."""
        weights = None if self.weights is None else _nearest(self.weights, like)
        return Target(_nearest(self.labels, like).long(), weights)

    def mean(self, losses: Tensor) -> Tensor:
        """Weighted mean over the voxels that count of a loss a voxel (B, ...); 0 where none does."""
        shares = self.counted[:, 0] if self.weights is None else self.weights[:, 0] * self.counted[:, 0]
        return (losses * shares).sum() / shares.sum().clamp_min(SMOOTH)


def dice(logits: Tensor, target: Target, config: LossConfig) -> Tensor:
    """1 - (2 sum p t + s) / (sum p + sum t + s), the mean over structures (Milletari et al. 2016, arXiv:1606.04797).

    Sums are over the voxels that count of each image, or of the whole batch where the settings say so. The background
    is no structure.
    """
    structures = torch.arange(1, logits.shape[1], device=logits.device).view(-1, *[1] * (logits.ndim - 2))
    wanted = (target.labels == structures).to(logits.dtype)  # IGNORED is the number of none
    predicted = logits.softmax(1)[:, 1:] * target.counted
    axes = [0] * config.batch_dice + list(range(2, logits.ndim))
    common, sizes = (predicted * wanted).sum(axes), predicted.sum(axes) + wanted.sum(axes)
    return (1 - (2 * common + SMOOTH) / (sizes + SMOOTH)).mean()


def cross_entropy(logits: Tensor, target: Target, _config: LossConfig) -> Tensor:
    """Mean over the voxels that count of -log p of the right class."""
    if target.weights is None and target.counted.any():
        return functional.cross_entropy(logits, target.labels[:, 0], ignore_index=IGNORED)
    return target.mean(functional.cross_entropy(logits, target.labels[:, 0], ignore_index=IGNORED, reduction="none"))


def focal(logits: Tensor, target: Target, _config: LossConfig) -> Tensor:
    """Mean over the voxels that count of -(1 - p)^2 log p of the right class (Lin et al. 2017, arXiv:1708.02002)."""
    minus_log_p = functional.cross_entropy(logits, target.labels[:, 0], ignore_index=IGNORED, reduction="none")
    return target.mean((1 - (-minus_log_p).exp()) ** 2 * minus_log_p)


LOSSES: dict[str, Callable[[Tensor, Target, LossConfig], Tensor]] = {
    "dice": dice,
    "cross_entropy": cross_entropy,
    "focal": focal,
}
"""By the names that `training.loss` gives weights to."""


def check_names(config: LossConfig) -> None:
    """Make sure that there is a loss for every weight; the settings alone, which do not need torch, cannot tell.

    Raises:
        ConfigError: names those that `LOSSES` does not have.
    """
    unknown = sorted(set(config.weights) - set(LOSSES))
    if unknown:
        raise ConfigError(f"losses among {', '.join(LOSSES)}", ", ".join(unknown), "Correct training.loss.others.")


class SegmentationLoss(nn.Module):
    """The weighted sum of losses at each supervised resolution; these weigh 1, 1/2, 1/4, ... divided by their sum.

    The target is brought to the coarser resolutions by the nearest voxel. A loss of weight 0 is not computed.

    Raises:
        ConfigError: a weight is given to a loss that `LOSSES` does not have.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        check_names(config)
        self.config = config
        self.weights = {name: weight for name, weight in config.weights.items() if weight > 0}

    def forward(self, logits: list[Tensor], labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, classes, D, H, W), finest first.
            labels: class numbers (B, 1, D, H, W), or `IGNORED`.
            weights: what each voxel counts for (B, 1, D, H, W); None where all count alike.
        """
        target, shares = Target(labels, weights), [0.5**level for level in range(len(logits))]
        losses = [
            share * self._at_one_resolution(each.float(), target.at(each))
            for share, each in zip(shares, logits, strict=True)
        ]
        return torch.stack(losses).sum() / sum(shares)

    def _at_one_resolution(self, logits: Tensor, target: Target) -> Tensor:
        losses = [weight * LOSSES[name](logits, target, self.config) for name, weight in self.weights.items()]
        return torch.stack(losses).sum()


def _nearest(values: Tensor, like: Tensor) -> Tensor:
    if values.shape[2:] == like.shape[2:]:
        return values
    return functional.interpolate(values.float(), like.shape[2:], mode="nearest-exact")
