"""Two folders of masks, matched by case; they are read in other processes, where a damaged file can do no harm."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import geometry
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError, ScanError
from pipeline.evaluation.examples import CaseMasks
from pipeline.evaluation.scores import CaseScore, FailedCase, ScoredCases, score_case
from pipeline.formats import registry
from pipeline.inference.readers import run_isolated
from pipeline.layouts.scan_files import MASK_ENDINGS
from pipeline.preprocessing.labels import values_in
from pipeline.scan import Scan, Unit
from pipeline.wording import count_of, enumerate_names

PREDICTED_MASK = "mask"
"""Name of the mask in a case's folder, as prediction writes it: <case>/mask.nii.gz, or in another format."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pair:
    """The masks of a case, one of each kind where all is well."""

    case: str
    predicted: list[Path]
    expected: list[Path]


@dataclass(frozen=True)
class _ScoredPair:
    scores: list[CaseScore]
    reference_hash: str


def score_folders(
    predictions: Path, references: Path, *, labels: dict[str, int], config: EvaluationConfig
) -> ScoredCases:
    """Score the masks of one folder against those of another, matched by case.

    Args:
        predictions: masks named ``<case>.nii.gz``, or folders as prediction writes them, ``<case>/mask.nii.gz``.
        references: masks named ``<case>.nii.gz``, or ``<case>_seg.nii.gz`` and the like.
        labels: name and value of each structure.
        config: the tolerance of the surface Dice.

    Returns:
        The scores, and the cases that failed: no prediction, an unreadable mask, or two different grids.

    Raises:
        DatasetError: a folder is missing, or no case is in both.
    """
    predicted = _predicted_masks(predictions)
    expected = _references(references, predicted)
    _check_match(predicted, expected, folders=(predictions, references))
    pairs = [_Pair(case, predicted.get(case, []), paths) for case, paths in expected.items()]
    result = ScoredCases()
    for outcome in run_isolated(partial(_score_pair, labels=labels, config=config), pairs, InferenceConfig()):
        case = outcome.item.case
        if outcome.value is None:
            result.failed.append(FailedCase(case, str(outcome.error)))
        elif result.scores and outcome.value.scores and outcome.value.scores[0].unit != result.scores[0].unit:
            result.failed.append(FailedCase(case, str(_other_unit(result.scores[0].unit))))
        else:
            result.scores.extend(outcome.value.scores)
            result.reference_hashes[case] = outcome.value.reference_hash
    return result


def _other_unit(unit: Unit) -> DatasetError:
    """There is no mean of millimetres and pixels: the first case's unit counts."""
    kinds = geometry.KINDS
    found = next(kind for other, kind in kinds.items() if other != unit)
    return DatasetError(f"{kinds[unit]}, as in the cases before", found, "Score the two kinds apart.")


def read_masks(predictions: Path, references: Path, cases: Sequence[str]) -> Iterator[CaseMasks | Exception]:
    """The masks of some cases, in their order and one at a time, or why they cannot be read any more."""
    predicted = _predicted_masks(predictions)
    expected = _references(references, predicted)
    pairs = [_Pair(case, predicted.get(case, []), expected.get(case, [])) for case in cases]
    for outcome in run_isolated(_read_pair, pairs, InferenceConfig()):
        if outcome.value is not None:
            yield outcome.value
        else:
            assert outcome.error is not None
            yield outcome.error


def labels_in(predictions: Path, references: Path) -> dict[str, int]:
    """The values above 0 that masks of two folders hold, each under the name ``label_<value>``.

    What the predictions alone hold is a structure that was found where there is none; it counts as well.

    Raises:
        DatasetError: a folder is missing, no reference and no prediction of it holds a value above 0, or they have none
            in common.
    """
    predicted = _predicted_masks(predictions)
    expected = _references(references, predicted)
    common = [predicted[case] for case in sorted(predicted.keys() & expected.keys())]
    ours, theirs = _values_in(common), _values_in(expected.values())
    if ours and theirs and not ours & theirs:
        raise DatasetError(
            "predictions and references with a label in common",
            f"the values {_listed(ours)} in those, and {_listed(theirs)} in these",
            "Give both the same values: what is coded by a threshold or by colours in the references is not in masks.",
        )
    found = sorted(ours | theirs)
    if not found:
        raise DatasetError(
            "masks that hold structures",
            f"no value above 0 in any mask of {references} or of its cases in {predictions}",
            "Check that they are masks.",
        )
    return {f"label_{value}": value for value in found}


def _values_in(masks: Iterable[list[Path]]) -> set[int]:
    """The values above 0 of the first mask of each case."""
    values: set[int] = set()
    for outcome in run_isolated(_values_of, [paths[0] for paths in masks], InferenceConfig()):
        if outcome.value is None:
            log.warning("No labels are taken from %s: %s", outcome.item.name, outcome.error)
        else:
            values |= outcome.value
    return values


def _listed(values: Collection[int]) -> str:
    return enumerate_names(map(str, sorted(values)))


def _flat_masks(folder: Path) -> dict[str, list[Path]]:
    """The masks that lie in a folder, by case; more than one a case where it is there in several formats."""
    if not folder.is_dir():
        raise DatasetError("a folder of masks", f"{folder}, which is none", "Check the path.")
    masks = defaultdict(list)
    for path in sorted(folder.iterdir()):
        case = registry.case_name(path)
        if case is not None and path.is_file() and not path.name.startswith("."):
            masks[case].append(path)
    return dict(masks)


def _references(folder: Path, predicted: Collection[str]) -> dict[str, list[Path]]:
    """As `_flat_masks`; a reference may be called after its case with one of MASK_ENDINGS, as in a data set."""
    references: dict[str, list[Path]] = defaultdict(list)
    for name, paths in _flat_masks(folder).items():
        plain = next((name.removesuffix(suffix) for suffix in MASK_ENDINGS if name.endswith(suffix)), name)
        references[plain if name not in predicted and plain in predicted else name] += paths
    return dict(references)


def _predicted_masks(folder: Path) -> dict[str, list[Path]]:
    """As `_flat_masks`, and the masks of the folder's subfolders, which are named after their cases."""
    masks = _flat_masks(folder)
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        nested = _flat_masks(subfolder).get(PREDICTED_MASK, [])
        if nested:
            masks[subfolder.name] = [*masks.get(subfolder.name, []), *nested]
    return masks


def _check_match(
    predicted: dict[str, list[Path]], expected: dict[str, list[Path]], *, folders: tuple[Path, Path]
) -> None:
    if not predicted.keys() & expected.keys():
        raise DatasetError(
            "predictions and references of the same cases, by file name",
            f"{_some(predicted)} in {folders[0]}, {_some(expected)} in {folders[1]}",
            "Name a prediction <case>.nii.gz or <case>/mask.nii.gz (or .png, .nrrd ...), its reference <case>.nii.gz.",
        )
    unmatched = len(predicted.keys() - expected.keys())
    if unmatched:
        log.warning("%d of %d predictions have no reference and are not scored.", unmatched, len(predicted))


def _some(masks: dict[str, list[Path]]) -> str:
    return f"{count_of(len(masks), 'mask')} ({enumerate_names(masks)})" if masks else "no masks"


def _values_of(path: Path) -> frozenset[int]:
    return values_in(registry.read_mask(path).array)


def _score_pair(pair: _Pair, labels: dict[str, int], config: EvaluationConfig) -> _ScoredPair:
    masks = _read_pair(pair)
    scores = score_case(pair.case, masks.prediction, masks.reference, labels=labels, config=config)
    return _ScoredPair(scores, masks.reference.content_hash())


def _read_pair(pair: _Pair) -> CaseMasks:
    prediction, reference = _read_one(pair.predicted, "prediction"), _read_one(pair.expected, "reference")
    difference = geometry.grid_difference(prediction, reference)
    if difference is not None:
        raise ScanError(
            "a prediction on the reference's grid",
            difference,
            "Resample it to the reference's grid (nearest neighbour).",
        )
    return CaseMasks(prediction.array[0], reference, scan=None)


def _read_one(paths: list[Path], kind: str) -> Scan:
    if len(paths) != 1:
        found = " and ".join(path.name for path in paths) or "none"
        remedy = "Keep exactly one." if paths else "Add it, or correct its name."
        raise DatasetError(f"one {kind} of the case", found, remedy)
    try:
        return registry.read_mask(paths[0])
    except ScanError as error:
        raise ScanError(f"{error.expected} as the {kind}", error.found, error.remedy) from error
