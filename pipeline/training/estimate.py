"""Fitting predicted Dice to masks of cases that a network has not learnt from, and of damaged versions of them."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.estimate import EstimateConfig
from pipeline.config.gate import GateConfig
from pipeline.damage.kinds import DAMAGES, damage_with_mask
from pipeline.errors import UserError, reason_of
from pipeline.inference.estimate import FittedEstimates, evidence_of
from pipeline.inference.gate import FittedGate
from pipeline.inference.predictor import Predictor
from pipeline.inference.shapes import Shapes, shape_views
from pipeline.metrics.overlap import Overlap
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import prepare
from pipeline.quality.masks import LEAST_PATIENTS, MaskEstimates, MaskExample, check_patients
from pipeline.samples.cache import StoredCase
from pipeline.scan import Scan
from pipeline.training.coarse import fit_shapes
from pipeline.training.gate import Windows, draw_cases, fit_gate

log = logging.getLogger(__name__)
MASKS = 200
"""Training masks that the autoencoder of shapes learns from, at most."""
SCANS = GateConfig(cases=100, autoencoder_steps=0)
"""How it is told whether a scan is odd."""
STRENGTHS = (0.2, 1.0)
"""Of damage, between these."""
LEARNING_SHARE = 0.3
"""Of the work, what learning shapes and scans is taken for."""


@dataclass(frozen=True)
class UnseenCase:
    """A case that the network has not learnt from.

    Attributes:
        name: of the case.
        read: reads the scan and its class numbers (I, J, K), which may be `IGNORED`, on the scan's own grid.
        patient: whose it is.
    """

    name: str
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


@dataclass(frozen=True, eq=False)
class Learnt:
    """What is known of the training cases.

    Attributes:
        shapes: of their masks, or None.
        scans: how odd a scan is beside them.
        sizes: of each label in each mask (N, L), 0 where it is missing.
    """

    shapes: Shapes | None
    scans: FittedGate
    sizes: NDArray[np.float64]


def fit_estimates(
    predictors: Sequence[Predictor],
    cases: Sequence[UnseenCase],
    config: EstimateConfig,
    *,
    training: Sequence[tuple[StoredCase, str]],
    seed: int,
    progress: Callable[[float], None],
) -> FittedEstimates:
    """Fit predicted Dice.

    Args:
        predictors: of the model, without mirroring and, where it is used, with it.
        cases: from which as many as the configuration asks for are drawn.
        config: how.
        training: cases that the network has learnt from, and the patient of each.
        seed: of what is drawn at random.
        progress: is told the share that is done.

    Raises:
        DatasetError: there are too few patients to fit to, or in training.
        ModelError: the network's output is not finite.
    """
    check_patients([case.patient for case in cases])
    learnt = learn(training, predictors[0], config.shape_steps, seed=seed)
    progress(LEARNING_SHARE)
    examples = collect(
        predictors,
        cases,
        config,
        learnt=learnt,
        seed=seed,
        progress=lambda done: progress(LEARNING_SHARE + (1 - LEARNING_SHARE) * done),
    )
    fitted = [MaskEstimates.fit(own, learnt.sizes, config) for own in examples]
    return FittedEstimates(fitted[0], fitted[1] if len(fitted) > 1 else None, learnt.shapes, learnt.scans)


def collect(
    predictors: Sequence[Predictor],
    cases: Sequence[UnseenCase],
    config: EstimateConfig,
    *,
    learnt: Learnt,
    seed: int,
    progress: Callable[[float], None],
) -> list[list[MaskExample]]:
    """The masks that predicted Dice is fitted to, of each predictor; as `fit_estimates`.

    All cases are looked at as they are, and then with one damage after the other. Once `EstimateConfig.max_minutes`
    have passed, no further mask is made, but for the patients that are needed. A case that cannot be used is left out.
    """
    chosen, started = draw_cases(np.array([case.patient for case in cases]), config.cases, seed=seed), time.monotonic()
    examples = [list[MaskExample]() for _ in predictors]
    steps, useless = list(product(range(1 + config.damaged), chosen.tolist())), set[int]()
    for done, (number, place) in enumerate(steps, start=1):
        is_late = time.monotonic() - started > 60 * config.max_minutes
        if is_late and len({example.patient for example in examples[0]}) >= LEAST_PATIENTS:
            log.info(
                "predicted Dice is fitted to %d of %d masks: estimate.max_minutes have passed", done - 1, len(steps)
            )
            break
        if place not in useless:
            case = cases[place]
            try:
                scan, truth = case.read()
                version = version_of(scan, truth, number, seed=seed + place)
                found = [example_of(version, each, learnt, patient=case.patient) for each in predictors]
            except UserError as error:
                log.info("%s is left out of fitting predicted Dice: %s", case.name, reason_of(error))
                useless |= set() if number else {place}  # damage may make a scan what cannot be segmented
                continue
            for own, example in zip(examples, found, strict=True):
                own.append(example)
        progress(done / len(steps))
    return examples


def version_of(scan: Scan, truth: NDArray[np.uint8], number: int, *, seed: int) -> Version:
    """The scan as it is (0), or with the first, second, ... of the kinds of damage, in an order drawn by the seed."""
    if number == 0:
        return Version(scan, truth, "")
    kinds = np.random.default_rng(seed).permutation(list(DAMAGES)).tolist()
    kind, rng = kinds[(number - 1) % len(kinds)], np.random.default_rng((seed, number))
    strength = float(rng.uniform(*STRENGTHS))
    return Version(*damage_with_mask(scan, truth, kind, strength=strength, rng=rng), kind)


def example_of(version: Version, predictor: Predictor, learnt: Learnt, *, patient: str) -> MaskExample:
    """What is known of the mask that a predictor makes, with its Dice.

    Raises:
        ScanError: the scan cannot be segmented.
        ModelError: the network's output is not finite.
    """
    prepared = prepare(version.scan, predictor.manifest.preprocessing)
    mask, observed = predictor.observe(prepared)
    evidence = evidence_of(observed, prepared, learnt.shapes, scans=learnt.scans)
    counted = version.truth != IGNORED
    values = predictor.manifest.label_values
    dice = [
        Overlap.of((mask == value) & counted, version.truth == number + 1).dice for number, value in enumerate(values)
    ]
    known = np.array([np.nan if each is None else each for each in dice])
    return MaskExample(evidence, known, patient, version.damage)


def learn(training: Sequence[tuple[StoredCase, str]], predictor: Predictor, steps: int, *, seed: int) -> Learnt:
    """What is to be known of the training cases, and the patient of each.

    Raises:
        DatasetError: there are too few patients.
    """
    manifest = predictor.manifest
    windows = Windows(predictor.backend, manifest.patch_size, predictor.config.overlap, manifest.mirror_axes)
    scans = fit_gate(training, SCANS, windows=windows, seed=seed, progress=lambda _: None)
    labels, dimensions = len(manifest.labels), manifest.network.dimensions
    order = np.random.default_rng(seed).permutation(len(training))[:MASKS]
    views, sizes = list[Tensor](), list[NDArray[np.float64]]()
    for place in order.tolist():
        case, _ = training[place]
        classes, spacing = case.labels(), case.trail.prepared_spacing_mm
        views.append(shape_views(classes, labels, spacing=spacing, dimensions=dimensions))
        sizes.append(np.bincount(classes.reshape(-1), minlength=labels + 1)[1 : labels + 1] * np.prod(spacing))
    shapes = None
    if steps:
        axes = tuple(axis for axis in manifest.mirror_axes if axis < dimensions)
        shapes = Shapes(fit_shapes(torch.cat(views), steps=steps, mirror_axes=axes, seed=seed), labels, dimensions)
    return Learnt(shapes, scans, np.stack(sizes))
