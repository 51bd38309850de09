"""From checked cases to what training runs on: fitted preprocessing and prepared cases in the cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.commands.dataset import CheckedDataset
from pipeline.commands.progress import ProgressLine
from pipeline.config.cache import CacheConfig
from pipeline.config.preprocessing import PreprocessingConfig
from pipeline.errors import DatasetError
from pipeline.formats import nifti
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.fit import Fingerprint, fingerprint, fit
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.labels import to_classes
from pipeline.samples.cache import CaseCache, StoredCase
from pipeline.samples.prepare import case_key, prepare_unchanged
from pipeline.training.validation import ValidationCase


@dataclass(frozen=True)
class PreparedDataset:
    """What a network is trained on.

    Attributes:
        fitted: preprocessing, fitted on the training cases alone.
        train: prepared training cases.
        validation: prepared validation cases with their masks as they are on disk.
    """

    fitted: FittedPreprocessing
    train: list[StoredCase]
    validation: list[ValidationCase]


def prepare_dataset(
    checked: CheckedDataset, progress: ProgressLine, *, preprocessing: PreprocessingConfig, cache: CacheConfig
) -> PreparedDataset:
    """Fit preprocessing on the training cases and prepare all cases that training and validation need.

    Files are read in this process: reader processes have read every one of them to its end just before, in
    `check_for_training`, so that one that crashes or hangs its reader does not come here.

    Raises:
        ConfigError: preprocessing cannot be fitted as configured.
        DatasetError: there is no case to train on.
    """
    train, validation = checked.cases("train"), checked.cases("validation")
    if not train:
        raise DatasetError("cases to train on", "none in the training part", "Check data.split.")
    label_values = tuple(checked.dataset.labels.values())
    fitted = fit(_fingerprints(train, progress), checked.dataset.modalities, preprocessing)
    folder = CaseCache(cache)
    stored = {
        case.name: _store(case, fitted, label_values, cache=folder)
        for case in _counted([*train, *validation], progress, "preparing")
    }
    folder.trim(list(stored.values()))
    return PreparedDataset(
        fitted,
        [stored[case.name] for case in train],
        [ValidationCase(stored[case.name], _truth(case, label_values)) for case in validation],
    )


def _fingerprints(cases: list[Case], progress: ProgressLine) -> Iterator[Fingerprint]:
    for case in _counted(cases, progress, "measuring"):
        assert case.mask is not None
        yield fingerprint(nifti.read_scan(case.image), nifti.read_mask(case.mask).array[0])


def _store(case: Case, fitted: FittedPreprocessing, label_values: tuple[int, ...], *, cache: CaseCache) -> StoredCase:
    key = case_key(case, fitted, label_values)
    return cache.get(key, partial(prepare_unchanged, case, fitted, label_values, key=key))


def _truth(case: Case, label_values: tuple[int, ...]) -> NDArray[np.uint8]:
    assert case.mask is not None
    return to_classes(nifti.read_mask(case.mask).array[0], label_values)


def _counted(cases: list[Case], progress: ProgressLine, verb: str) -> Iterator[Case]:
    for index, case in enumerate(cases, start=1):
        yield case
        progress.update(index / len(cases), f"{verb} case {index} of {len(cases)}")
