"""From a configuration to a data set: which layout it has, and what the configuration overrides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.data import DataConfig
from pipeline.errors import DatasetError, ScanError
from pipeline.formats import registry
from pipeline.layouts import bids, decathlon, flat, pairs, patterns, table
from pipeline.layouts.case_files import read_header
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import FILE_NAME
from pipeline.layouts.patients import find_patients
from pipeline.layouts.scan_files import MASK_ENDINGS, case_name, case_name_below, entries, index, is_scan
from pipeline.preprocessing.coding import MaskCoding
from pipeline.wording import enumerate_names

DEFAULT_MODALITY = "MR"
PICTURE_CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}
"""What the channels of pictures are called where nothing names them, by their number."""


@dataclass(frozen=True)
class Layout:
    """A way to arrange files: how it is told from others, in code and in words, and how it is read."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path], Dataset]
    sign: str


LAYOUTS = {
    "decathlon": Layout(decathlon.recognises, decathlon.read, "a folder imagesTr, or a dataset.json"),
    "pairs": Layout(pairs.recognises, pairs.read, "a folder images beside a folder of masks"),
    "bids": Layout(bids.recognises, bids.read, "folders sub-* with files of their names"),
    "table": Layout(table.recognises, table.read, "a table cases.csv with a column image"),
    "flat": Layout(flat.recognises, flat.read, "images beside masks of the same names and an ending such as _mask"),
}


def discover(config: DataConfig) -> Dataset:
    """Find the cases of a data set, their labels, modalities and patients.

    Scans are not opened, except for one header where nothing names the modalities. Files that do not add up are kept in
    the data set, for the checks to report. Labels that nothing names are left to `checks.name_labels`.

    Raises:
        ConfigError: the patient pattern is no regular expression with a group.
        DatasetError: the folder is missing, has no known layout or more than one, holds no scans, or its dataset.json
            or patients cannot be read.
    """
    _check_root(config.root)
    dataset = _read(config)
    _check_not_empty(dataset)
    dataset = _with_coding(_with_labels(_with_patients(dataset, config), config), config)
    return _with_modalities(dataset, config)


def discover_scans(config: DataConfig) -> Dataset:
    """Find the scans of a data set, or of any other folder; masks are passed over.

    A folder that is arranged as no data set is looked through to any depth, and each of its scans is a case.

    Returns:
        The scans as cases without a mask: those that have one, so that a split divides them as it does for training;
        the others are ``unlabelled``. Where none has a mask, all are cases.

    Raises:
        ConfigError, DatasetError: as `discover`.
    """
    _check_root(config.root)
    is_arranged = config.files.images or config.layout != "auto" or recognise(config.root)
    dataset = discover(config) if is_arranged else _plain(config)
    with_masks = tuple(replace(case, mask=None, further_masks=(), field_of_view=None) for case in dataset.cases)
    others = (*dataset.unlabelled, *_with_patients(replace(dataset, cases=_unmasked(dataset)), config).cases)
    scans = replace(dataset, cases=with_masks or others, unlabelled=others if with_masks else (), labels={})
    return replace(scans, unmasked=(), orphan_masks=(), loose_match="")


def _plain(config: DataConfig) -> Dataset:
    """A folder of scans that is arranged as no data set."""
    found = sorted(path for path in config.root.rglob("*") if path.is_file() and _is_image(path))
    if not found:
        raise DatasetError(f"scans ({registry.READ}) in {config.root}", "none", "Correct data.root.")
    names = index(found, lambda path: case_name_below(path, config.root))
    cases = tuple(Case(name, (path,), None, name) for name, path in names.items())
    dataset = Dataset(config.root.name, config.root, {}, (), (), cases, layout="a folder of scans")
    return _with_modalities(_with_patients(dataset, config), config)


def _is_image(path: Path) -> bool:
    """Whether a file is a scan, by its name, and not the mask of one."""
    return is_scan(path) and not path.name.startswith(".") and not case_name(path).endswith(MASK_ENDINGS)


def _unmasked(dataset: Dataset) -> tuple[Case, ...]:
    """Images that lack a mask, as cases; the files of one case are its channels."""
    files, listed = dict[str, list[Path]](), {path for case in dataset.unlabelled for path in case.images}
    for path in sorted(set(dataset.unmasked) - listed):
        files.setdefault(dataset.case_of(path), []).append(path)
    return tuple(Case(name, tuple(paths), None, name) for name, paths in files.items())


def recognise(root: Path) -> list[str]:
    """The names of the layouts that a folder could have; empty where it is arranged as no data set."""
    found = [name for name, layout in LAYOUTS.items() if layout.recognises(root)]
    return found or (["decathlon"] if (root / FILE_NAME).is_file() else [])  # any layout may have a dataset.json


def _check_root(root: Path) -> None:
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DatasetError(
            "the folder of a data set", f"{found} at {root}", "Correct the path (in a configuration, data.root)."
        )


def _read(config: DataConfig) -> Dataset:
    if config.files.images:
        return replace(patterns.read(config.root, config.files), layout="as data.files says")
    name = _choose(config)
    layout = LAYOUTS[name]
    return replace(layout.read(config.root), layout=f"{name}: {layout.sign}")


def _choose(config: DataConfig) -> str:
    if config.layout != "auto":
        return config.layout
    fitting = recognise(config.root)
    if not fitting:
        raise _no_layout(config.root)
    if len(fitting) > 1:
        found = f"{config.root}, which could be {' or '.join(fitting)}"
        raise DatasetError(
            "a folder arranged in one way", found, "Say which in data.layout, or move the other folders elsewhere."
        )
    return fitting[0]


def _no_layout(root: Path) -> DatasetError:
    content = entries(root)
    inner = [path for path in content if path.is_dir() and recognise(path)]
    advice = f"Set data.root to {inner[0]}." if len(inner) == 1 else "Correct data.root, or arrange the files so."
    return DatasetError(
        "a data set: dataset.json with imagesTr and labelsTr, images with masks or labels, BIDS, cases.csv, or files "
        "with and without _label or _mask in one folder",
        f"{root} with {enumerate_names(path.name for path in content) or 'nothing in it'}",
        advice,
    )


def _check_not_empty(dataset: Dataset) -> None:
    strays = (dataset.unmasked, dataset.orphan_masks, dataset.missing, dataset.incomplete)
    if dataset.cases or dataset.unlabelled or any(strays):
        return
    endings = sorted({path.suffix or path.name for path in dataset.ignored})
    found = f"only files that are none ({enumerate_names(endings)})" if endings else "none"
    expected = f"scans ({registry.READ}) in {dataset.root}"
    raise DatasetError(expected, found, "Convert them, or correct data.root.")


def _with_patients(dataset: Dataset, config: DataConfig) -> Dataset:
    if config.patient_pattern is None and config.patient_table is None:
        return dataset  # the layout may know them
    patients = find_patients((case.name for case in (*dataset.cases, *dataset.unlabelled)), config)
    return replace(
        dataset,
        cases=tuple(replace(case, patient=patients[case.name]) for case in dataset.cases),
        unlabelled=tuple(replace(case, patient=patients[case.name]) for case in dataset.unlabelled),
    )


def _with_labels(dataset: Dataset, config: DataConfig) -> Dataset:
    if not config.labels:
        return dataset
    return replace(dataset, labels=dict(sorted(config.labels.items(), key=lambda item: item[1])), declared=True)


def _with_coding(dataset: Dataset, config: DataConfig) -> Dataset:
    coding = MaskCoding.of(config.mask, dataset.labels)
    return replace(dataset, cases=tuple(replace(case, coding=coding) for case in dataset.cases))


def _with_modalities(dataset: Dataset, config: DataConfig) -> Dataset:
    modalities = config.modalities or dataset.modalities
    if modalities:
        return replace(dataset, modalities=modalities, modalities_declared=True)
    modalities = _assumed_modalities(dataset)
    return replace(dataset, modalities=modalities, modalities_declared=modalities in PICTURE_CHANNELS.values())


def _assumed_modalities(dataset: Dataset) -> tuple[str, ...]:
    """Of the first scan that can be read: the colours of a picture, and MR for each channel of a volume."""
    for case in (*dataset.cases, *dataset.unlabelled):
        try:
            header = read_header(case.images)
        except ScanError:
            continue  # the checks report it
        volumes = (DEFAULT_MODALITY,) * header.channels
        return PICTURE_CHANNELS.get(header.channels, volumes) if header.unit == "px" else volumes
    return (DEFAULT_MODALITY,)
