"""What training minimises.

A new loss is a function of logits (B, classes, D, H, W), labels (B, 1, D, H, W) and the settings, and its line in
`LOSSES` (docs/extending.md).
"""

from collections.abc import Callable

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.training import LossConfig
from pipeline.errors import ConfigError

SMOOTH = 1e-5


def dice(logits: Tensor, labels: Tensor, config: LossConfig) -> Tensor:
    """Soft Dice over the structures, without the background (Milletari et al. 2016, arXiv:1606.04797, unsquared)."""
    loss = DiceLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=config.batch_dice,
        smooth_nr=SMOOTH,
        smooth_dr=SMOOTH,
    )
    return loss(logits, labels)


def cross_entropy(logits: Tensor, labels: Tensor, _config: LossConfig) -> Tensor:
    """Mean over all voxels of -log p of the right class."""
    return functional.cross_entropy(logits, labels[:, 0].long())


def focal(logits: Tensor, labels: Tensor, _config: LossConfig) -> Tensor:
    """Mean over all voxels of -(1 - p)^2 log p of the right class (Lin et al. 2017, arXiv:1708.02002, eq. 4)."""
    minus_log_p = functional.cross_entropy(logits, labels[:, 0].long(), reduction="none")
    return ((1 - (-minus_log_p).exp()) ** 2 * minus_log_p).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, LossConfig], Tensor]] = {
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

    def forward(self, logits: list[Tensor], labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, classes, D, H, W), finest first.
            labels: class numbers (B, 1, D, H, W).
        """
        shares = [0.5**level for level in range(len(logits))]
        losses = [
            share * self._at_one_resolution(each.float(), labels.float())
            for share, each in zip(shares, logits, strict=True)
        ]
        return torch.stack(losses).sum() / sum(shares)

    def _at_one_resolution(self, logits: Tensor, labels: Tensor) -> Tensor:
        near = functional.interpolate(labels, logits.shape[2:], mode="nearest-exact")
        losses = [weight * LOSSES[name](logits, near, self.config) for name, weight in self.weights.items()]
        return torch.stack(losses).sum()
