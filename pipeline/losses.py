"""What training minimises."""

from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import Tensor, nn

from pipeline.config.training import LossConfig

MAX_LEVELS = 32


class SegmentationLoss(nn.Module):
    """Dice + cross-entropy at each supervised resolution, weighted 1, 1/2, 1/4, ... and divided by the sum of these.

    The target is brought to the coarser resolutions by the nearest voxel. Dice leaves the background out; the
    cross-entropy has all classes.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.loss = DeepSupervisionLoss(
            DiceCELoss(
                include_background=False,
                to_onehot_y=True,
                softmax=True,
                batch=config.batch_dice,
                smooth_nr=1e-5,
                smooth_dr=1e-5,
                lambda_dice=config.dice,
                lambda_ce=config.cross_entropy,
            ),
            weights=[0.5**level for level in range(MAX_LEVELS)],  # its own "exp" stops falling at 1/16
        )

    def forward(self, logits: list[Tensor], labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, classes, D, H, W), finest first.
            labels: class numbers (B, 1, D, H, W).
        """
        total = sum(0.5**level for level in range(len(logits)))
        return self.loss([each.float() for each in logits], labels.float()) / total
