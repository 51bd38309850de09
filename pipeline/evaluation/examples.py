"""The cases that a report shows in pictures: the best, the median and the worst."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import reason_of
from pipeline.evaluation.scores import CaseScore
from pipeline.report.html import Overlay
from pipeline.scan import Scan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A case that stands for others.

    Attributes:
        role: best, median or worst.
        case: its name.
        dice: its mean Dice over the labels that it is scored for.
    """

    role: str
    case: str
    dice: float


@dataclass(frozen=True, eq=False)
class CaseMasks:
    """What a picture of a case shows.

    Attributes:
        prediction: label values (I, J, K).
        reference: the mask on the same grid.
        scan: the scan on the same grid; None where masks alone were scored.
    """

    prediction: NDArray[np.integer]
    reference: Scan
    scan: Scan | None


def mean_dice_by_case(scores: Iterable[CaseScore]) -> dict[str, float]:
    """Each case's mean Dice over the labels where it is defined; a case without any is left out."""
    defined: dict[str, list[float]] = {}
    for score in scores:
        if score.dice is not None:
            defined.setdefault(score.case, []).append(score.dice)
    return {case: fmean(values) for case, values in defined.items()}


def choose_examples(scores: Iterable[CaseScore]) -> list[Example]:
    """The best, the median and the worst case by `mean_dice_by_case`, fewer where there are fewer cases.

    Cases with the same mean are ordered by name. Of an even number, the median is the worse of the two in the middle.
    """
    ordered = sorted(mean_dice_by_case(scores).items(), key=lambda item: (-item[1], item[0]))
    count = len(ordered)
    roles = {count // 2: "median", count - 1: "worst", 0: "best"}  # of two roles at one place, the last one counts
    return [Example(roles[place], *ordered[place]) for place in sorted(roles) if count]


def draw_examples(
    examples: Iterable[Example], masks: Iterable[CaseMasks | Exception], labels: dict[str, int]
) -> Iterator[Overlay]:
    """A picture of each example, one after the other; one that fails is told of, and the others are drawn.

    Args:
        examples: the cases.
        masks: what belongs to each of them, in the same order, or why it could not be had again.
        labels: name and value of each structure.
    """
    from pipeline.report.overlays import overlay_png  # matplotlib: not before the scores are there

    for example, found in zip(examples, _with_its_end(masks), strict=False):
        try:
            if isinstance(found, Exception):
                raise found
            png = overlay_png(found.prediction, found.reference, labels=labels, scan=found.scan)
        except Exception as error:  # whatever it is, the evaluation is worth more than its picture
            log.warning("No picture of case %s: %s", example.case, reason_of(error))
            yield Overlay(example.role, example.case, example.dice, problem=reason_of(error))
        else:
            yield Overlay(example.role, example.case, example.dice, png=png, on_scan=found.scan is not None)


def _with_its_end(masks: Iterable[CaseMasks | Exception]) -> Iterator[CaseMasks | Exception]:
    """The same; an error that ends the series stands for all that it still held."""
    try:
        yield from masks
    except Exception as error:
        while True:
            yield error
