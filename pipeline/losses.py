"""What training minimises.

Tensors are B C D H W, or B C H W for images; 1 stands for a single channel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.training import LossConfig
from pipeline.preprocessing.labels import IGNORED

SMOOTH = 1e-5


class SegmentationLoss(nn.Module):
    """Dice + cross-entropy at each supervised resolution, weighted 1, 1/2, 1/4, ... and divided by the sum of these.

    The target is brought to the coarser resolutions by the nearest voxel. Voxels that are `IGNORED` count in neither
    part.

    Args:
        config: the weights of the parts.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: list[Tensor], labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, classes, D, H, W), finest first.
            labels: class numbers (B, 1, D, H, W), or `IGNORED`.
            weights: what each voxel counts for in the cross-entropy (B, 1, D, H, W); None where all count alike.
        """
        shares = [0.5**level for level in range(len(logits))]
        losses = [
            share * self._level(each.float(), nearest(labels, each).long(), _nearest_or_none(weights, each))
            for share, each in zip(shares, logits, strict=True)
        ]
        return torch.stack(losses).sum() / sum(shares)

    def _level(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        loss = logits.new_zeros(())
        if self.config.dice > 0:
            loss = loss + self.config.dice * dice_loss(logits, labels, batch=self.config.batch_dice)
        if self.config.cross_entropy > 0:
            loss = loss + self.config.cross_entropy * cross_entropy(logits, labels, weights)
        return loss


def nearest(values: Tensor, like: Tensor) -> Tensor:
    """Values at the resolution of a coarser level, each that of the nearest voxel."""
    if values.shape[2:] == like.shape[2:]:
        return values
    return functional.interpolate(values.float(), like.shape[2:], mode="nearest-exact")


def _nearest_or_none(weights: Tensor | None, like: Tensor) -> Tensor | None:
    return None if weights is None else nearest(weights, like)


def dice_loss(logits: Tensor, labels: Tensor, *, batch: bool) -> Tensor:
    """1 - (2 sum p t + s) / (sum p + sum t + s), the mean over structures (Milletari et al. 2016, arXiv:1606.04797).

    Sums are over the voxels of each image, or of the whole batch, that are not `IGNORED`. The background is no
    structure.

    Args:
        logits: (B, classes, ...).
        labels: class numbers (B, 1, ...), or `IGNORED`.
        batch: whether the batch counts as one image.
    """
    structures = torch.arange(1, logits.shape[1], device=labels.device).view(-1, *[1] * (logits.ndim - 2))
    target = (labels == structures).to(logits.dtype)  # IGNORED is the number of none
    predicted = logits.softmax(1)[:, 1:] * (labels != IGNORED)
    axes = [0] * batch + list(range(2, logits.ndim))
    common, sizes = (predicted * target).sum(axes), predicted.sum(axes) + target.sum(axes)
    return (1 - (2 * common + SMOOTH) / (sizes + SMOOTH)).mean()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of -log p of the right class over the voxels that are not `IGNORED`; 0 where all are.

    Args:
        logits: (B, classes, ...).
        labels: class numbers (B, 1, ...), or `IGNORED`.
        weights: of the mean (B, 1, ...); None where all count alike.
    """
    counted = labels[:, 0] != IGNORED
    if not counted.any():
        return logits.sum() * 0
    if weights is None:
        return functional.cross_entropy(logits, labels[:, 0], ignore_index=IGNORED)
    losses = functional.cross_entropy(logits, labels[:, 0], ignore_index=IGNORED, reduction="none")
    shares = weights[:, 0] * counted
    return (losses * shares).sum() / shares.sum().clamp_min(SMOOTH)
