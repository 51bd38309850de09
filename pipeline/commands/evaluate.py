"""``medseg evaluate`` and ``medseg score``: how good a model's masks, or a folder of masks, are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from rich.console import Console

from pipeline import __version__
from pipeline.commands.progress import ProgressLine, progress_line
from pipeline.config.data import DataConfig
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError, UserError
from pipeline.evaluation import CaseScore, FailedCase, labels_in, score_case, score_folders, summarise, write_evaluation
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import run_isolated
from pipeline.inference.reading import read_case, read_hash
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.discover import discover
from pipeline.manifest import Manifest
from pipeline.model import Model

SplitName = Literal["test", "val", "all"]
PARTS = {"test": "test", "val": "validation"}
T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """Which cases are scored.

    Attributes:
        part: the part of the model's split that they are, or all.
        cases: the cases.
        excluded: how many were left out because the model was trained on their content.
        failed: cases that could not be read, so that nobody knows which part they are.
    """

    part: SplitName
    cases: list[Case]
    excluded: int
    failed: list[FailedCase]


@dataclass(frozen=True)
class Evaluation:
    """The content of metrics.json, and how many cases failed."""

    summary: dict[str, Any]
    failed: int


@dataclass(frozen=True)
class _Scores:
    scores: list[CaseScore] = field(default_factory=list)
    failed: list[FailedCase] = field(default_factory=list)


def evaluate(
    model: Model,
    root: Path,
    output: Path,
    part: SplitName | None,
    config: InferenceConfig,
    console: Console,
) -> Evaluation:
    """Predict the cases of a data set and score the masks.

    Args:
        model: the trained model.
        root: a data set with masks.
        output: folder for metrics.json, cases.csv and report.html.
        part: the part of the model's own split to score. By default test for the data set that the model was trained
            on, and all cases of any other.
        config: settings of the sliding window and the readers.
        console: where progress is shown.

    Raises:
        DatasetError: the data set cannot be found, or no case is left to score.
    """
    manifest = model.manifest
    dataset = discover(DataConfig(root=root, labels=manifest.labels, modalities=manifest.modalities))
    predictor = Predictor(model, config)
    with progress_line(console, "reading") as progress:
        selection = select_cases(dataset, manifest, part, config, progress)
    with progress_line(console, "evaluating") as progress:
        scored = _score_cases(selection.cases, predictor, config, progress)
    failed = [*selection.failed, *scored.failed]
    summary = summarise(
        scored.scores,
        manifest.labels,
        manifest.evaluation,
        excluded_training_cases=selection.excluded,
        failed=failed,
    )
    provenance = {
        "data set": dataset.name,
        "part": selection.part,
        "model": manifest.name,
        "weights": manifest.weights_sha256,
        "run": manifest.provenance.run_id,
        "inference": config.model_dump(mode="json"),
        "medseg": __version__,
    }
    write_evaluation(output, scored.scores, summary, provenance)
    return Evaluation(summary, len(failed))


def score(
    predictions: Path, references: Path, output: Path, labels: dict[str, int] | None, config: EvaluationConfig
) -> Evaluation:
    """Score a folder of masks against another, without a model.

    Args:
        predictions: masks named after their cases, or what `predict` wrote.
        references: masks named after their cases.
        output: folder for metrics.json, cases.csv and report.html.
        labels: name and value of each structure; by default the values found in the references.
        config: settings of the metrics.

    Raises:
        DatasetError: the folders hold no masks that go together.
    """
    known = labels if labels is not None else labels_in(references)
    scores, failed = score_folders(predictions, references, known, config)
    summary = summarise(scores, known, config, excluded_training_cases=0, failed=failed)
    provenance = {"predictions": predictions.name, "references": references.name, "medseg": __version__}
    write_evaluation(output, scores, summary, provenance)
    return Evaluation(summary, len(failed))


def select_cases(
    dataset: Dataset, manifest: Manifest, part: SplitName | None, config: InferenceConfig, progress: ProgressLine
) -> Selection:
    """Choose the cases by their content: a case that the model was trained on is never scored.

    Raises:
        DatasetError: no case is left.
    """
    parts: dict[str, str | None] = {}
    failed = []
    for case, outcome in _isolated(read_hash, list(dataset.cases), config, progress):
        if isinstance(outcome, str):
            parts[case.name] = manifest.parts.get(outcome)
        else:
            failed.append(FailedCase(case.name, outcome.reason))
    own = any(known is not None for known in parts.values())
    chosen = part if part is not None else ("test" if own else "all")
    wanted = [
        case
        for case in dataset.cases
        if case.name in parts and (chosen == "all" or parts[case.name] == PARTS[chosen]) and parts[case.name] != "train"
    ]
    excluded = sum(known == "train" for known in parts.values()) if chosen == "all" else 0
    if not wanted and not failed:
        raise DatasetError(
            f"cases to score in {dataset.root} (--split {chosen})",
            f"none among its {len(dataset.cases)}; {sum(known == 'train' for known in parts.values())} were trained on",
            "Give the data set that the model was trained on, or --split all for another.",
        )
    return Selection(chosen, wanted, excluded, failed)


def _score_cases(cases: list[Case], predictor: Predictor, config: InferenceConfig, progress: ProgressLine) -> _Scores:
    manifest, result = predictor.manifest, _Scores()
    read = partial(read_case, fitted=manifest.preprocessing, values=frozenset(manifest.label_values))
    for case, outcome in _isolated(read, cases, config, progress):
        if isinstance(outcome, FailedCase):
            result.failed.append(outcome)
            continue
        try:
            mask = predictor.predict_prepared(outcome.prepared)
        except UserError as error:
            result.failed.append(FailedCase(case.name, str(error)))
            continue
        truth = outcome.truth
        result.scores.extend(
            score_case(case.name, mask, truth.array[0], truth.affine, manifest.labels, manifest.evaluation)
        )
    return result


def _isolated(
    function: Callable[[Case], T], cases: list[Case], config: InferenceConfig, progress: ProgressLine
) -> Iterator[tuple[Case, T | FailedCase]]:
    """Call a function for each case in reader processes; what fails comes back as a failed case."""
    outcomes = run_isolated(
        function,
        cases,
        workers=config.readers,
        deadline_seconds=config.read_deadline_seconds,
        memory_gb=config.reader_memory_gb,
    )
    for index, (case, outcome) in enumerate(zip(cases, outcomes, strict=True), start=1):
        if outcome.value is None:
            yield case, FailedCase(case.name, outcome.error or "")
        else:
            yield case, outcome.value
        progress.update(index / len(cases), f"case {index} of {len(cases)}")
