"""From checked cases to what training runs on: fitted preprocessing and prepared cases in the cache."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from pipeline.commands.dataset import CheckedDataset
from pipeline.commands.progress import ProgressLine
from pipeline.commands.reading import read_all
from pipeline.config.cache import CacheConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.preprocessing import PreprocessingConfig
from pipeline.errors import DatasetError
from pipeline.inference.reading import read_fingerprint
from pipeline.layouts.case_files import read_classes
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.fit import fit
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.ranges import TrainingRanges, fit_ranges
from pipeline.samples.cache import CaseCache, StoredCase
from pipeline.samples.prepare import Recipe, store_case
from pipeline.training.validation import ValidationCase

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedDataset:
    """What a network is trained on.

    Attributes:
        fitted: preprocessing, fitted on the training cases alone.
        train: prepared training cases.
        validation: prepared validation cases with their masks as they are on disk.
        ranges: what the training cases are like.
    """

    fitted: FittedPreprocessing
    train: list[StoredCase]
    validation: list[ValidationCase]
    ranges: TrainingRanges


def prepare_dataset(
    checked: CheckedDataset,
    progress: ProgressLine,
    *,
    preprocessing: PreprocessingConfig,
    dimensions: Literal[2, 3],
    cache: CacheConfig,
    inference: InferenceConfig,
) -> PreparedDataset:
    """Fit preprocessing on the training cases and prepare all cases that training and validation need.

    Args:
        checked: the data set.
        progress: where progress is shown.
        preprocessing: what is fitted.
        dimensions: of the network.
        cache: where prepared cases are kept.
        inference: of the reader processes, in which all of this happens.

    Raises:
        ConfigError: preprocessing cannot be fitted as configured.
        DatasetError: there is no case to train on, or one cannot be prepared; the message names it.
    """
    train, validation = checked.cases("train"), checked.cases("validation")
    if not train:
        raise DatasetError("cases to train on", "none in the training part", "Check data.split.")
    label_values = tuple(checked.dataset.labels.values())
    run = partial(_in_readers, inference=inference, progress=progress)
    fingerprints = list(run(read_fingerprint, train, "measuring"))
    fitted = fit(fingerprints, checked.dataset.modalities, preprocessing, dimensions=dimensions)
    store = partial(
        store_case, recipe=Recipe(fitted, label_values, preprocessing.border, preprocessing.outside), cache=cache
    )
    stored = {case.name: case for case in run(store, [*train, *validation], "preparing")}
    for case in stored.values():
        case.open()
    CaseCache(cache).trim(list(stored.values()))
    return PreparedDataset(
        fitted,
        [stored[case.name] for case in train],
        [ValidationCase(stored[case.name], read_classes(case, label_values)) for case in validation],
        fit_ranges([each.measured for each in fingerprints], checked.dataset.labels),
    )


def _in_readers(
    function: Callable[[Case], T], cases: list[Case], verb: str, *, inference: InferenceConfig, progress: ProgressLine
) -> Iterator[T]:
    """What a function gives for each case, called in reader processes.

    Raises:
        DatasetError: what it raised for a case, or did to its process; the message names the case.
    """
    for outcome in read_all(function, cases, verb, config=inference, progress=progress):
        if outcome.value is None:
            assert outcome.error is not None
            expected, found, remedy = outcome.error.expected, outcome.error.found, outcome.error.remedy
            raise DatasetError(f"{expected}, of the case {outcome.item.name}", found, remedy)
        yield outcome.value
