"""Fitting the scan gate to the cases that a network has learnt from and was validated on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.gate import GateConfig
from pipeline.inference.backends.backend import Backend
from pipeline.inference.coarse import coarse_views
from pipeline.inference.gate import FittedGate, encode_all
from pipeline.quality.scans import Measurements, ScanGate, check_patients
from pipeline.samples.cache import StoredCase
from pipeline.training.coarse import fit_autoencoders

MEASURING = 0.5
"""Share of the work that measuring the cases is taken for."""


@dataclass(frozen=True)
class Windows:
    """How a network sees scans.

    Attributes:
        backend: runs the network, as it does when it predicts.
        patch_size: of its input.
        overlap: of its windows.
        mirror_axes: along which training mirrored prepared scans.
    """

    backend: Backend
    patch_size: tuple[int, ...]
    overlap: float
    mirror_axes: tuple[int, ...]


def draw_cases(patients: NDArray, most: int, *, seed: int) -> NDArray[np.int64]:
    """Places of as many cases as asked for, at random, in order; a second one of a patient only after one of each."""
    order = np.random.default_rng(seed).permutation(len(patients))
    _, first = np.unique(patients[order], return_index=True)
    is_first = np.zeros(len(order), bool)
    is_first[first] = True
    return np.sort(np.concatenate([order[is_first], order[~is_first]])[:most])


def fit_gate(
    cases: Sequence[tuple[StoredCase, str]],
    config: GateConfig,
    *,
    windows: Windows,
    seed: int,
    progress: Callable[[float], None],
) -> FittedGate:
    """Fit a gate.

    Args:
        cases: and the patient of each; as many as the configuration asks for are drawn from them.
        config: how.
        windows: of the network, which is trained.
        seed: of what is drawn at random.
        progress: is told the share that is done.

    Raises:
        DatasetError: there are too few cases or patients, or all are alike.
        ModelError: what the network makes of a case is not finite.
    """
    chosen = draw_cases(np.array([patient for _, patient in cases]), config.cases, seed=seed)
    patients = np.array([cases[place][1] for place in chosen])
    check_patients(patients)
    dimensions, share = len(windows.patch_size), MEASURING if config.autoencoder_steps else 1.0
    parts, coarse = list[Measurements](), []
    for number, place in enumerate(chosen):
        image = cases[place][0].image()
        encoded = encode_all(windows.backend, image, windows.patch_size, overlap=windows.overlap)
        parts.append(encoded.measurements(np.zeros(0)))
        coarse.append(coarse_views(image, dimensions))
        progress(share * (number + 1) / len(chosen))
    known = Measurements.together(parts)
    if not config.autoencoder_steps:
        return FittedGate(ScanGate.fit(known, config.false_alarm_rate, groups=patients), None)
    autoencoders, errors = fit_autoencoders(
        coarse,
        groups=patients,
        steps=config.autoencoder_steps,
        mirror_axes=tuple(axis for axis in windows.mirror_axes if axis < dimensions),
        seed=seed,
        progress=lambda done: progress(share + (1 - share) * done),
    )
    known = Measurements(known.quantiles, known.features, errors)
    return FittedGate(ScanGate.fit(known, config.false_alarm_rate, groups=patients), autoencoders)
