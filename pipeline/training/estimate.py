"""Fitting predicted Dice to masks of cases that a network has not learnt from, and of damaged versions of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.estimate import EstimateConfig
from pipeline.damage.kinds import DAMAGES, damage_with_mask
from pipeline.errors import ScanError
from pipeline.inference.estimate import FittedEstimates, evidence_of
from pipeline.inference.predictor import Predictor
from pipeline.inference.shapes import Shapes, shape_views
from pipeline.metrics.overlap import Overlap
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import prepare
from pipeline.quality.masks import LEAST_PATIENTS, MaskEstimates, MaskExample, check_patients
from pipeline.samples.cache import StoredCase
from pipeline.scan import Scan
from pipeline.training.coarse import fit_shapes
from pipeline.training.gate import draw_cases

MASKS = 200
"""Training masks that the autoencoder of shapes learns from, at most."""
STRENGTHS = (0.2, 1.0)
"""Of damage, between these."""
SHAPES_SHARE = 0.2
"""Of the work, what learning shapes is taken for."""


@dataclass(frozen=True)
class UnseenCase:
    """A case that the network has not learnt from.

    Attributes:
        read: reads the scan and its class numbers (I, J, K), which may be `IGNORED`, on the scan's own grid.
        patient: whose it is.
    """

    read: Callable[[], tuple[Scan, NDArray[np.uint8]]]
    patient: str


@dataclass(frozen=True)
class Version:
    """A scan, as it is or damaged.

    Attributes:
        scan: the scan.
        truth: the mask that is right for it, as class numbers, which may be `IGNORED`.
        damage: the kind of damage; empty of the scan as it is.
    """

    scan: Scan
    truth: NDArray[np.uint8]
    damage: str


def fit_estimates(
    predictors: Sequence[Predictor],
    cases: Sequence[UnseenCase],
    config: EstimateConfig,
    *,
    training: Sequence[StoredCase],
    seed: int,
    progress: Callable[[float], None],
) -> FittedEstimates:
    """Fit predicted Dice.

    Args:
        predictors: of the model, without mirroring and, where it is used, with it.
        cases: from which as many as the configuration asks for are drawn.
        config: how.
        training: cases that the network has learnt from, for their masks.
        seed: of what is drawn at random.
        progress: is told the share that is done.

    Raises:
        DatasetError: there are too few patients.
        ScanError: a case cannot be read.
        ModelError: the network's output is not finite.
    """
    check_patients([case.patient for case in cases])
    shapes, sizes = _learn_masks(training, predictors[0], config.shape_steps, seed=seed)
    progress(SHAPES_SHARE)
    examples = collect(
        predictors,
        cases,
        config,
        shapes=shapes,
        seed=seed,
        progress=lambda done: progress(SHAPES_SHARE + (1 - SHAPES_SHARE) * done),
    )
    fitted = [MaskEstimates.fit(own, sizes, config) for own in examples]
    return FittedEstimates(fitted[0], fitted[1] if len(fitted) > 1 else None, shapes)


def collect(
    predictors: Sequence[Predictor],
    cases: Sequence[UnseenCase],
    config: EstimateConfig,
    *,
    shapes: Shapes | None,
    seed: int,
    progress: Callable[[float], None],
) -> list[list[MaskExample]]:
    """The masks that predicted Dice is fitted to, of each predictor; as `fit_estimates`.

    Once `EstimateConfig.max_minutes` have passed, no further case is begun, but for the patients that are needed.
    """
    chosen, started = draw_cases(np.array([case.patient for case in cases]), config.cases, seed=seed), time.monotonic()
    examples = [list[MaskExample]() for _ in predictors]
    for number, place in enumerate(chosen.tolist()):
        is_late = time.monotonic() - started > 60 * config.max_minutes
        if is_late and len({example.patient for example in examples[0]}) >= LEAST_PATIENTS:
            break
        scan, truth = cases[place].read()
        for version in versions(scan, truth, config.damaged, seed=seed + place):
            for own, predictor in zip(examples, predictors, strict=True):
                own.extend(examples_of(version, predictor, shapes, patient=cases[place].patient))
        progress((number + 1) / len(chosen))
    return examples


def versions(scan: Scan, truth: NDArray[np.uint8], damaged: int, *, seed: int) -> Iterator[Version]:
    """A scan as it is, and then damaged in different ways, each with the mask that is right for it."""
    yield Version(scan, truth, "")
    rng = np.random.default_rng(seed)
    for kind in islice(cycle(rng.permutation(list(DAMAGES)).tolist()), damaged):
        strength = float(rng.uniform(*STRENGTHS))
        yield Version(*damage_with_mask(scan, truth, kind, strength=strength, rng=rng), kind)


def examples_of(version: Version, predictor: Predictor, shapes: Shapes | None, *, patient: str) -> list[MaskExample]:
    """What is known of the mask that a predictor makes, with its Dice; nothing of a scan that it refuses."""
    try:
        prepared = prepare(version.scan, predictor.manifest.preprocessing)
    except ScanError:
        return []
    mask, tally, score = predictor.observe(prepared)
    evidence = evidence_of(tally, shapes, gate_score=score, spacing=prepared.trail.prepared_spacing_mm)
    counted = version.truth != IGNORED
    values = predictor.manifest.label_values
    dice = [
        Overlap.of((mask == value) & counted, version.truth == number + 1).dice for number, value in enumerate(values)
    ]
    known = np.array([np.nan if each is None else each for each in dice])
    return [MaskExample(evidence, known, patient, version.damage)]


def _learn_masks(
    training: Sequence[StoredCase], predictor: Predictor, steps: int, *, seed: int
) -> tuple[Shapes | None, NDArray[np.float64]]:
    """The shapes of training masks, and the size of each label in each of them (N, L)."""
    labels, dimensions = len(predictor.manifest.labels), predictor.manifest.network.dimensions
    order = np.random.default_rng(seed).permutation(len(training))[:MASKS]
    views, sizes = list[Tensor](), list[NDArray[np.float64]]()
    for place in order.tolist():
        classes, spacing = training[place].labels(), training[place].trail.prepared_spacing_mm
        views.append(shape_views(classes, labels, spacing=spacing, dimensions=dimensions))
        sizes.append(np.bincount(classes.reshape(-1), minlength=labels + 1)[1 : labels + 1] * np.prod(spacing))
    if not steps:
        return None, np.stack(sizes)
    axes = tuple(axis for axis in predictor.manifest.mirror_axes if axis < dimensions)
    network = fit_shapes(torch.cat(views), steps=steps, mirror_axes=axes, seed=seed)
    return Shapes(network, labels, dimensions), np.stack(sizes)
