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

    def forward(self, logits: list[Tensor], labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, classes, D, H, W), finest first.
            labels: class numbers (B, 1, D, H, W), or `IGNORED`.
        """
        shares = [0.5**level for level in range(len(logits))]
        losses = [
            share * self._level(each.float(), nearest(labels, each)) for share, each in zip(shares, logits, strict=True)
        ]
        return torch.stack(losses).sum() / sum(shares)

    def _level(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = logits.new_zeros(())
        if self.config.dice > 0:
            loss = loss + self.config.dice * dice_loss(logits, labels, batch=self.config.batch_dice)
        if self.config.cross_entropy > 0:
            loss = loss + self.config.cross_entropy * cross_entropy(logits, labels)
        return loss


def nearest(labels: Tensor, like: Tensor) -> Tensor:
    """Labels at the resolution of a coarser level, as whole numbers."""
    if labels.shape[2:] != like.shape[2:]:
        labels = functional.interpolate(labels.float(), like.shape[2:], mode="nearest-exact")
    return labels.long()


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


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p of the right class over the voxels that are not `IGNORED`; 0 where all are.

    Args:
        logits: (B, classes, ...).
        labels: class numbers (B, 1, ...), or `IGNORED`.
    """
    if not (labels != IGNORED).any():
        return logits.sum() * 0
    return functional.cross_entropy(logits, labels[:, 0], ignore_index=IGNORED)
