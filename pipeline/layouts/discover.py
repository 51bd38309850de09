"""From a configuration to a data set: which layout it has, and what the configuration overrides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config.data import DataConfig
from pipeline.errors import DatasetError, ScanError
from pipeline.formats import nifti
from pipeline.layouts import decathlon, pairs
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.patients import find_patients
from pipeline.layouts.scan_files import entries
from pipeline.layouts.wording import enumerate_names

DEFAULT_MODALITY = "MR"


@dataclass(frozen=True)
class Layout:
    """A way to arrange files: how it is told from others, and how it is read."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path], Dataset]


LAYOUTS = {
    "decathlon": Layout(decathlon.recognises, decathlon.read),
    "pairs": Layout(pairs.recognises, pairs.read),
}


def discover(config: DataConfig) -> Dataset:
    """Find the cases of a data set, their labels, modalities and patients.

    Scans are not opened, except for the masks where nothing names the labels, and for one header where nothing names
    the modalities. Files that do not add up are kept in the data set, for the checks to report.

    Raises:
        ConfigError: the patient pattern is no regular expression with a group.
        DatasetError: the folder is missing, has no known layout or more than one, holds no scans, or its dataset.json,
            patients or masks cannot be read.
    """
    dataset = LAYOUTS[_choose(config)].read(config.root)
    _check_not_empty(dataset)
    dataset = _with_patients(dataset, config)
    return replace(_with_labels(dataset, config), modalities=_modalities(dataset, config))


def labels_in_masks(cases: tuple[Case, ...]) -> dict[str, int]:
    """The values above 0 that masks hold, named ``label_<value>``.

    Raises:
        DatasetError: names every mask that cannot be read.
    """
    values: set[int] = set()
    problems = []
    for case in cases:
        assert case.mask is not None
        try:
            values.update(int(value) for value in np.unique(nifti.read_mask(case.mask).array))
        except ScanError as error:
            problems.append(f"{case.name} (expected {error.expected}, found {error.found})")
    if problems:
        raise DatasetError(
            "masks that can be read, because nothing names their labels",
            f"{len(problems)} that cannot: {enumerate_names(problems)}",
            "Mend them, or name the labels in data.labels and look at what medseg check says.",
        )
    return {f"label_{value}": value for value in sorted(values - {0})}


def _choose(config: DataConfig) -> str:
    if not config.root.is_dir():
        found = "a file" if config.root.exists() else "nothing"
        raise DatasetError("the folder of a data set", f"{found} at {config.root}", "Correct data.root.")
    if config.layout != "auto":
        return config.layout
    fitting = [name for name, layout in LAYOUTS.items() if layout.recognises(config.root)]
    if not fitting:
        raise _no_layout(config.root)
    if len(fitting) > 1:
        found = f"{config.root}, which could be {' or '.join(fitting)}"
        raise DatasetError("a folder arranged in one way", found, "Say which in data.layout.")
    return fitting[0]


def _no_layout(root: Path) -> DatasetError:
    content = entries(root)
    inner = [path for path in content if path.is_dir() and any(layout.recognises(path) for layout in LAYOUTS.values())]
    advice = f"Set data.root to {inner[0]}." if len(inner) == 1 else "Correct data.root, or arrange the files so."
    return DatasetError(
        "a data set: dataset.json with imagesTr and labelsTr, or images with masks or labels",
        f"{root} with {enumerate_names(path.name for path in content) or 'nothing in it'}",
        advice,
    )


def _check_not_empty(dataset: Dataset) -> None:
    if dataset.cases or dataset.unlabelled or dataset.unmasked or dataset.orphan_masks or dataset.missing:
        return
    endings = sorted({path.suffix or path.name for path in dataset.ignored})
    found = f"only files that are none ({enumerate_names(endings)})" if endings else "none"
    expected = f"scans ({', '.join(nifti.SUFFIXES)}) in {dataset.root}"
    raise DatasetError(expected, found, "Convert them, or correct data.root.")


def _with_patients(dataset: Dataset, config: DataConfig) -> Dataset:
    patients = find_patients((case.name for case in (*dataset.cases, *dataset.unlabelled)), config)
    return replace(
        dataset,
        cases=tuple(replace(case, patient=patients[case.name]) for case in dataset.cases),
        unlabelled=tuple(replace(case, patient=patients[case.name]) for case in dataset.unlabelled),
    )


def _with_labels(dataset: Dataset, config: DataConfig) -> Dataset:
    if config.labels is not None:
        return replace(dataset, labels=dict(sorted(config.labels.items(), key=lambda item: item[1])), declared=True)
    if dataset.declared:
        return dataset
    return replace(dataset, labels=labels_in_masks(dataset.cases))


def _modalities(dataset: Dataset, config: DataConfig) -> tuple[str, ...]:
    """From the configuration, else from dataset.json, else MR for each channel of the first scan that can be read."""
    if config.modalities or dataset.modalities:
        return config.modalities or dataset.modalities
    for case in (*dataset.cases, *dataset.unlabelled):
        try:
            return (DEFAULT_MODALITY,) * nifti.read_header(case.image).channels
        except ScanError:
            continue  # the checks report it
    return (DEFAULT_MODALITY,)
