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
from pipeline.preprocessing.fit import Fingerprint, fit
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


@dataclass(frozen=True)
class PreparedScans:
    """What an autoencoder is trained on.

    Attributes:
        fitted: preprocessing, fitted on the training scans alone.
        train: prepared training scans.
        validation: prepared validation scans.
    """

    fitted: FittedPreprocessing
    train: list[StoredCase]
    validation: list[StoredCase]


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
    label_values = tuple(checked.dataset.labels.values())
    fingerprints, fitted = _fit(checked, progress, preprocessing=preprocessing, dimensions=dimensions, config=inference)
    recipe = Recipe(fitted, label_values, preprocessing.border, preprocessing.outside)
    stored = _store(checked, recipe, progress, cache=cache, config=inference)
    return PreparedDataset(
        fitted,
        [stored[case.name] for case in checked.cases("train")],
        [ValidationCase(stored[case.name], read_classes(case, label_values)) for case in checked.cases("validation")],
        fit_ranges([each.measured for each in fingerprints], checked.dataset.labels),
    )


def prepare_scans(
    checked: CheckedDataset,
    progress: ProgressLine,
    *,
    preprocessing: PreprocessingConfig,
    dimensions: Literal[2, 3],
    cache: CacheConfig,
    inference: InferenceConfig,
) -> PreparedScans:
    """The same of scans whose masks are passed over; as `prepare_dataset`."""
    _, fitted = _fit(checked, progress, preprocessing=preprocessing, dimensions=dimensions, config=inference)
    stored = _store(checked, Recipe(fitted, ()), progress, cache=cache, config=inference)
    train, validation = ([stored[case.name] for case in checked.cases(part)] for part in ("train", "validation"))
    return PreparedScans(fitted, train, validation)


def _fit(
    checked: CheckedDataset,
    progress: ProgressLine,
    *,
    preprocessing: PreprocessingConfig,
    dimensions: Literal[2, 3],
    config: InferenceConfig,
) -> tuple[list[Fingerprint], FittedPreprocessing]:
    train = checked.cases("train")
    if not train:
        raise DatasetError("cases to train on", "none in the training part", "Check data.split.")
    fingerprints = list(_in_readers(read_fingerprint, train, "measuring", inference=config, progress=progress))
    return fingerprints, fit(fingerprints, checked.dataset.modalities, preprocessing, dimensions=dimensions)


def _store(
    checked: CheckedDataset, recipe: Recipe, progress: ProgressLine, *, cache: CacheConfig, config: InferenceConfig
) -> dict[str, StoredCase]:
    """Prepared cases by name, all of them in the cache."""
    cases = [*checked.cases("train"), *checked.cases("validation")]
    store = partial(store_case, recipe=recipe, cache=cache)
    made = _in_readers(store, cases, "preparing", inference=config, progress=progress)
    stored = {case.name: case for case in made}
    for case in stored.values():
        case.open()
    CaseCache(cache).trim(list(stored.values()))
    return stored


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
