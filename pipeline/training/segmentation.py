"""Training towards masks: the loss of logits, and the Dice of validation cases."""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.augmentation.sample import Sample
from pipeline.inference.precision import Compute
from pipeline.losses.segmentation import SegmentationLoss
from pipeline.training.validation import CaseDice, Validation, mean_by_class, mean_dice, validate


@dataclass(frozen=True)
class SegmentationObjective:
    """What a network that segments is trained towards.

    Attributes:
        criterion: of logits and class numbers.
        validation: cases, possibly none.
        compute: where the network runs.
    """

    criterion: SegmentationLoss
    validation: Validation
    compute: Compute

    def loss(self, network: nn.Module, batch: Sample, step: int) -> Tensor:  # noqa: ARG002  the same at each step
        """Loss of a batch of images with their labels and, where there are some, weights."""
        with self.compute.autocast():
            logits = network(self.compute.place(batch["image"]))
        labels, weights = batch["labels"].to(self.compute.device), batch.get("weights")
        value: Tensor = self.criterion(logits, labels, None if weights is None else weights.to(self.compute.device))
        return value

    def validate(self, network: nn.Module) -> list[CaseDice] | None:
        """Dice of each validation case and class above 0."""
        return validate(network, self.validation, self.compute) if self.validation.cases else None

    def score(self, found: list[CaseDice]) -> float | None:
        """Mean over classes of the mean over cases."""
        return mean_dice(mean_by_class(found))
