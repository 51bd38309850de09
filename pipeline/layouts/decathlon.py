"""The layout of the Medical Segmentation Decathlon and of nnU-Net.

``imagesTr/`` and ``labelsTr/`` hold the training cases, ``imagesTs/`` scans without masks, and ``dataset.json`` names
labels and modalities. Where it lists files, its list is what is used, and what lies on disk is compared with it.
nnU-Net has a file a channel, ``case_0000``, ``case_0001``, and so on.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.config.data import CASE, FilesConfig
from pipeline.errors import DatasetError
from pipeline.layouts import patterns
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import FILE_NAME, Description, described, read_description
from pipeline.layouts.pairs import Matching, match
from pipeline.layouts.scan_files import Listing, case_name, index, list_scans
from pipeline.wording import enumerate_names

IMAGES, MASKS, TEST_IMAGES = "imagesTr", "labelsTr", "imagesTs"
CHANNEL_SUFFIX, SECOND_CHANNEL = "_0000", "_0001"
"""Of the first, or only, channel and of the second in nnU-Net's names."""
CHANNEL = re.compile(r"_(\d{4})$")
"""The number of any channel."""


def recognises(root: Path) -> bool:
    """Whether a folder looks like this layout; a dataset.json may describe any other one as well."""
    return (root / IMAGES).is_dir()


def read(root: Path) -> Dataset:
    """Read dataset.json and compare it with the files; each case is its own patient for now.

    Raises:
        DatasetError: there is no imagesTr, dataset.json is broken, or names of files are ambiguous.
    """
    if not (root / IMAGES).is_dir():
        raise DatasetError(f"a folder {IMAGES} with the scans", f"none in {root}", "Check data.root and data.layout.")
    description = read_description(root)
    if _has_channel_files(root, description):
        return _read_channels(root, description)
    folders = [list_scans(root / name) for name in (IMAGES, MASKS, TEST_IMAGES)]
    listed = [(root / pair.image, root / pair.label) for pair in description.training]
    files = [path for pair in listed for path in pair]
    rest = _match_rest(folders, set(files), description)
    tests, missing_tests, unlisted_tests = _test_scans(root, folders[2], description)
    matched = _existing(listed, description) if listed else rest.pairs
    _index_images([*(image for image, _ in matched.values()), *tests.values()], description)  # names differ across both
    return replace(
        described(root, description),
        cases=tuple(Case(name, (image,), mask, name) for name, (image, mask) in sorted(matched.items())),
        unlabelled=tuple(Case(name, (image,), None, name) for name, image in sorted(tests.items())),
        unmasked=rest.images,
        orphan_masks=rest.masks,
        missing=_missing(files),
        missing_unlabelled=missing_tests,
        unlisted=(*(image for image, _ in rest.pairs.values() if listed), *unlisted_tests),
        ignored=tuple(path for folder in folders for path in folder.ignored),
    )


def _has_channel_files(root: Path, description: Description) -> bool:
    """Whether the channels of a case are files of their own, by nnU-Net's names."""
    several = max(len(description.channel_names or ()), len(description.modalities)) > 1
    return several and any(case_name(path).endswith(SECOND_CHANNEL) for path in list_scans(root / IMAGES).scans)


def _read_channels(root: Path, description: Description) -> Dataset:
    ending, channels = description.file_ending or ".*", range(len(description.modalities))
    names = [f"{CASE}_{channel:04d}{ending}" for channel in channels]
    files = FilesConfig(images=tuple(f"{IMAGES}/{name}" for name in names), masks=(f"{MASKS}/{CASE}{ending}",))
    tests = [patterns.find(root, f"{TEST_IMAGES}/{name}") for name in names]
    whole = sorted(set(tests[0]).intersection(*tests[1:]))
    unlabelled = tuple(Case(name, tuple(channel[name] for channel in tests), None, name) for name in whole)
    lacking = [
        root / TEST_IMAGES / pattern.replace(CASE, name)
        for name in sorted(set[str]().union(*tests) - set(whole))
        for pattern, channel in zip(names, tests, strict=True)
        if name not in channel
    ]
    _check_channels([*list_scans(root / IMAGES).scans, *list_scans(root / TEST_IMAGES).scans], description)
    dataset = patterns.read(root, files)
    twice = sorted({case.name for case in dataset.cases} & set(whole))
    if twice:
        found = f"{enumerate_names(twice)} in both"
        raise DatasetError(f"other names in {TEST_IMAGES} than in {IMAGES}", found, "Rename one of them.")
    dataset = replace(dataset, unlabelled=unlabelled, missing_unlabelled=tuple(lacking))
    return (
        _listed_alone(dataset, [root / pair.label for pair in description.training])
        if description.training
        else dataset
    )


def _check_channels(paths: Iterable[Path], description: Description) -> None:
    """Refuse files of channels that have no name: a network that is trained without them cannot be what is meant."""
    channels = len(description.modalities)
    numbers = {path: CHANNEL.search(case_name(path)) for path in paths}
    further = [path.name for path, number in numbers.items() if number is not None and int(number[1]) >= channels]
    if further:
        raise DatasetError(
            f"files of the {channels} channels that {FILE_NAME} names",
            f"also {enumerate_names(further)}",
            f"Name all channels in {FILE_NAME}, or move these files elsewhere.",
        )


def _listed_alone(dataset: Dataset, masks: list[Path]) -> Dataset:
    """Only the cases whose masks dataset.json lists; the others are named."""
    listed = set(masks)
    return replace(
        dataset,
        cases=tuple(case for case in dataset.cases if case.mask in listed),
        unlisted=tuple(case.image for case in dataset.cases if case.mask not in listed),
        missing=_missing(masks),
    )


def _match_rest(folders: list[Listing], listed: set[Path], description: Description) -> Matching:
    """Match the files of imagesTr and labelsTr that are not listed: all of them where there is no list."""
    images = [path for path in folders[0].scans if path not in listed]
    masks = [path for path in folders[1].scans if path not in listed]
    return match(_index_images(images, description), index(masks))


def _existing(listed: list[tuple[Path, Path]], description: Description) -> dict[str, tuple[Path, Path]]:
    names = _index_images((image for image, _ in listed), description)
    masks = dict(listed)
    listed_pairs = {name: (image, masks[image]) for name, image in names.items()}
    return {name: pair for name, pair in listed_pairs.items() if not _missing(pair)}


def _test_scans(
    root: Path, folder: Listing, description: Description
) -> tuple[dict[str, Path], tuple[Path, ...], tuple[Path, ...]]:
    """The scans without masks by name, those listed and missing, and those on disk that are not listed."""
    listed = [root / name for name in description.test]
    if not listed:
        return _index_images(folder.scans, description), (), ()
    present = [path for path in listed if path.exists()]
    unlisted = tuple(path for path in folder.scans if path not in set(listed))
    return _index_images(present, description), _missing(listed), unlisted


def _missing(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(path for path in paths if not path.exists())


def _index_images(paths: Iterable[Path], description: Description) -> dict[str, Path]:
    """Images by case; nnU-Net writes ``case_0000.nii.gz`` for the only channel of ``case``."""
    images = index(paths)
    if description.channel_names is None:
        return images
    return index(images.values(), lambda path: case_name(path).removesuffix(CHANNEL_SUFFIX))
