"""Predicted Dice at work: what is gathered of a mask, and what that says of each label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.evidence import Tally, stray_shares
from pipeline.inference.segmentation import DiceFinding
from pipeline.inference.shapes import Shapes
from pipeline.quality.fitted import below
from pipeline.quality.masks import MaskEstimates, MaskEvidence

SINGLE, MIRRORED, SHAPES = "single", "mirrored", "shapes"
"""What the names of the parts' arrays begin with."""


@dataclass(frozen=True, eq=False)
class FittedEstimates:
    """Predicted Dice with all that it needs.

    Attributes:
        single: of masks of one prediction a window.
        mirrored: of masks that several mirrored predictions were averaged for; None where the model was not fitted so.
        shapes: knows the shapes of training masks; None of a model without.
    """

    single: MaskEstimates
    mirrored: MaskEstimates | None
    shapes: Shapes | None

    def judge(
        self, tally: Tally, gate_score: float, *, spacing: tuple[float, ...], labels: tuple[str, ...]
    ) -> tuple[DiceFinding, ...]:
        """What is to be thought of a mask.

        Args:
            tally: of its probabilities.
            gate_score: of the scan, 0 of a model without a gate.
            spacing: of the prepared grid, 1 along each axis where it has none.
            labels: their names.
        """
        evidence = evidence_of(tally, self.shapes, gate_score=gate_score, spacing=spacing)
        estimates = self.mirrored if evidence.agreement is not None else None
        predicted = self.single.predict(evidence.alone()) if estimates is None else estimates.predict(evidence)
        found = zip(labels, predicted, strict=True)
        return tuple(DiceFinding(name, each.dice, each.low, each.high, each.usual) for name, each in found if each)

    def to_arrays(self) -> dict[str, NDArray]:
        """All of it by name."""
        parts = {SINGLE: self.single.to_arrays()}
        if self.mirrored is not None:
            parts[MIRRORED] = self.mirrored.to_arrays()
        if self.shapes is not None:
            parts[SHAPES] = self.shapes.to_arrays()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], *, labels: int, dimensions: int) -> Self:
        """What `to_arrays` gave.

        Raises:
            ModelError: an array is missing or has another shape.
        """
        single, mirrored, shapes = (below(part, arrays) for part in (SINGLE, MIRRORED, SHAPES))
        return cls(
            MaskEstimates.from_arrays(single),
            MaskEstimates.from_arrays(mirrored) if mirrored else None,
            Shapes.from_arrays(shapes, labels=labels, dimensions=dimensions) if shapes else None,
        )


def evidence_of(tally: Tally, shapes: Shapes | None, *, gate_score: float, spacing: tuple[float, ...]) -> MaskEvidence:
    """All that is known of a mask; as `FittedEstimates.judge` takes it."""
    labels = len(tally.voxels)
    return MaskEvidence(
        voxels=tally.voxels,
        inside=tally.inside,
        total=tally.total,
        spread=tally.spread,
        stray=stray_shares(tally.classes, labels),
        size=tally.voxels * float(np.prod(spacing)),
        shape=np.ones(labels) if shapes is None else shapes.dice(tally.classes, spacing),
        gate=gate_score,
        agreement=tally.agreement,
    )
