"""Predicted Dice at work: what is gathered of a mask, and what that says of each label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.evidence import Tally, stray_shares
from pipeline.inference.gate import EncodedScan, FittedGate
from pipeline.inference.segmentation import DiceFinding
from pipeline.inference.shapes import Shapes
from pipeline.preprocessing.prepare import Prepared
from pipeline.quality.fitted import below
from pipeline.quality.masks import MaskEstimates, MaskEvidence

SINGLE, MIRRORED, SHAPES, SCANS = "single", "mirrored", "shapes", "scans"
"""What the names of the parts' arrays begin with."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen on the way to a mask.

    Attributes:
        tally: of its probabilities.
        encoded: the scan, with what the encoder made of it.
    """

    tally: Tally
    encoded: EncodedScan


@dataclass(frozen=True, eq=False)
class FittedEstimates:
    """Predicted Dice with all that it needs.

    Attributes:
        single: of masks of one prediction a window.
        mirrored: of masks that several mirrored predictions were averaged for; None where the model was not fitted so.
        shapes: knows the shapes of training masks; None of a model without.
        scans: how odd a scan is, by training cases alone: the gate has seen the validation cases as well, to which the
            rest is fitted.
    """

    single: MaskEstimates
    mirrored: MaskEstimates | None
    shapes: Shapes | None
    scans: FittedGate

    def judge(self, observed: Observed, prepared: Prepared, labels: tuple[str, ...]) -> tuple[DiceFinding, ...]:
        """What is to be thought of a mask; nothing of a mirrored one where the model was fitted to single ones alone.

        Args:
            observed: what was seen on the way to the mask.
            prepared: the scan.
            labels: their names.
        """
        estimates = self.single if observed.tally.agreement is None else self.mirrored
        if estimates is None:
            return ()
        evidence = evidence_of(observed, prepared, self.shapes, scans=self.scans)
        found = zip(labels, estimates.predict(evidence), strict=True)
        return tuple(DiceFinding(name, each.dice, each.low, each.high, each.usual) for name, each in found if each)

    def to_arrays(self) -> dict[str, NDArray]:
        """All of it by name."""
        parts = {SINGLE: self.single.to_arrays(), SCANS: self.scans.to_arrays()}
        if self.mirrored is not None:
            parts[MIRRORED] = self.mirrored.to_arrays()
        if self.shapes is not None:
            parts[SHAPES] = self.shapes.to_arrays()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], *, labels: int, channels: int, dimensions: int) -> Self:
        """What `to_arrays` gave.

        Raises:
            ModelError: an array is missing or has another shape.
        """
        single, mirrored, shapes = (below(part, arrays) for part in (SINGLE, MIRRORED, SHAPES))
        return cls(
            MaskEstimates.from_arrays(single),
            MaskEstimates.from_arrays(mirrored) if mirrored else None,
            Shapes.from_arrays(shapes, labels=labels, dimensions=dimensions) if shapes else None,
            FittedGate.from_arrays(below(SCANS, arrays), channels=channels, dimensions=dimensions),
        )


def evidence_of(observed: Observed, prepared: Prepared, shapes: Shapes | None, *, scans: FittedGate) -> MaskEvidence:
    """All that is known of a mask; as `FittedEstimates` takes it."""
    tally, spacing, labels = observed.tally, prepared.trail.prepared_spacing_mm, len(observed.tally.voxels)
    raw = scans.scores(observed.encoded)
    sizes = np.bincount(tally.classes.reshape(-1), minlength=labels + 1)[1 : labels + 1]
    return MaskEvidence(
        voxels=tally.voxels,
        inside=tally.inside,
        total=tally.total,
        spread=tally.spread,
        stray=stray_shares(tally.classes, labels),
        size=sizes.astype(np.float64) * np.prod(spacing),
        shape=np.ones(labels) if shapes is None else shapes.dice(tally.classes, spacing),
        scan=float(scans.statistics.gate.gate_score(raw)[0]),
        agreement=tally.agreement,
    )
