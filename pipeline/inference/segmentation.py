"""What a model makes of a scan."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ODDITIES = {
    "histogram": "its intensities",
    "mahalanobis": "what the network makes of it",
    "residual": "what the network makes of it",
    "neighbours": "what the network makes of it",
    "denoising": "its appearance",
    "variational": "its appearance",
}
"""What is odd, by the name of the score."""


@dataclass(frozen=True, eq=False)
class GateFinding:
    """What the gate says of a scan.

    Attributes:
        score: higher where the scan is less like those of training; 2 is about one such scan in 100.
        threshold: above it a scan is called foreign.
        oddness: by the name of each score, -log10 of how often a scan of training has one so odd.
        scan: on the coarse grid (C, I, J, K); None where the gate has no autoencoders, or the scan is not foreign.
        expected: what the variational autoencoder makes of it, of the same shape, or None.
    """

    score: float
    threshold: float
    oddness: dict[str, float]
    scan: NDArray[np.float32] | None = None
    expected: NDArray[np.float32] | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether the scan is unlike those of training."""
        return self.score > self.threshold

    @property
    def reason(self) -> str:
        """Why its mask is to be reviewed; empty where the scan is like those of training."""
        if not self.is_foreign:
            return ""
        oddest = max(self.oddness, key=self.oddness.__getitem__)
        return (
            f"unlike the scans of training: gate_score {self.score:.2f}, where {self.threshold:.2f} is usual at most; "
            f"most of all {ODDITIES[oddest]}"
        )


@dataclass(frozen=True)
class DiceFinding:
    """How good the mask of a label is likely to be.

    Attributes:
        label: its name.
        dice: the predicted Dice.
        low: of the interval that holds the Dice.
        high: of the interval.
        usual: what the predicted Dice of scans like those of validation lies above.
    """

    label: str
    dice: float
    low: float
    high: float
    usual: float

    @property
    def reason(self) -> str:
        """Why the mask is to be reviewed; empty where the predicted Dice is usual."""
        if self.dice >= self.usual:
            return ""
        return (
            f"{self.label}: predicted Dice {self.dice:.3f} ({self.low:.2f} to {self.high:.2f}), "
            f"where {self.usual:.3f} is expected at least"
        )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model makes of a scan, on the scan's own grid.

    Attributes:
        mask: label values (I, J, K).
        probabilities: of the background and each label (1 + labels, I, J, K), in the order of the manifest, at
            the model's temperature: what is done to the mask afterwards is not in them. None where not asked for.
        gate: whether the scan is like those of training; None of a model without a gate.
        estimates: how good the mask is likely to be; empty of a model without predicted Dice.
    """

    mask: NDArray[np.unsignedinteger]
    probabilities: NDArray[np.float32] | None = None
    gate: GateFinding | None = None
    estimates: tuple[DiceFinding, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Why the mask is to be reviewed, by what the gate and predicted Dice say."""
        found = ["" if self.gate is None else self.gate.reason, *(each.reason for each in self.estimates)]
        return [reason for reason in found if reason]
