"""``medseg evaluate``: how good a model's masks are."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.commands.progress import ProgressLine, progress_line
from pipeline.commands.reading import read_all
from pipeline.commands.score import Evaluation
from pipeline.commands.selection import Selection, SplitName, check_declaration, data_of, select_cases
from pipeline.config.inference import InferenceConfig
from pipeline.errors import reason_of
from pipeline.evaluation.examples import CaseMasks, Example, choose_examples, draw_examples
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import FailedCase, ScoredCases, cases_digest, score_case, within
from pipeline.evaluation.statistics import summarise
from pipeline.files import make_writable, writing_to
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import Outcome
from pipeline.inference.reading import read_case, read_hash
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import FILE_NAME
from pipeline.layouts.discover import discover
from pipeline.manifest import Manifest
from pipeline.model import Model
from pipeline.provenance import made_by
from pipeline.wording import printable


def evaluate(
    model: Model,
    root: Path,
    output: Path,
    *,
    part: SplitName | None,
    config: InferenceConfig,
    console: Console,
) -> Evaluation:
    """Predict the cases of a data set and score the masks.

    Args:
        model: the trained model.
        root: a data set with masks, or its configuration.
        output: folder for metrics.json, cases.csv, report.html and figures/.
        part: the part of the model's own split to score. By default test for the data set that the model was trained
            on, and all cases but its training cases of any other.
        config: settings of the sliding window and the readers.
        console: where progress is shown.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
        DatasetError: the data set cannot be found, names other labels or modalities than the model, or no case is
            left to score.
        OutputError: ``output`` cannot be written to.
    """
    manifest = model.manifest
    dataset = discover(data_of(root, manifest))
    check_declaration(dataset, manifest)
    predictor = Predictor(model, config)
    with progress_line(console, "reading") as progress:
        outcomes = _hashes(dataset, config, progress)
    selection = select_cases(dataset, outcomes, manifest, part=part)
    make_writable(output)
    with progress_line(console, "evaluating") as progress:
        scored = _score_cases(selection.cases, predictor, progress)
    unread = [*_incomplete(dataset), *selection.failed]
    summary = _summary(scored, [*unread, *scored.failed], selection, manifest=manifest)
    provenance = _provenance(dataset, predictor, selection.part) | {
        "cases_digest": cases_digest(scored.reference_hashes),
        **made_by(),
    }
    examples = choose_examples(scored.scores)
    with progress_line(console, "drawing") as progress, writing_to(output):
        masks = _predict_again(_cases(examples, selection), predictor, progress)
        overlays = draw_examples(examples, masks, manifest.labels)
        write_evaluation(output, scored.scores, summary=summary, provenance=provenance, overlays=overlays)
    is_own = not unread and selection.unknown == 0
    return Evaluation(summary, len(unread) + len(scored.failed), is_own)


def _summary(
    scored: ScoredCases, failed: list[FailedCase], selection: Selection, *, manifest: Manifest
) -> dict[str, Any]:
    excluded, labels = selection.excluded, manifest.labels
    summary = summarise(scored.scores, labels, manifest.evaluation, excluded_training_cases=excluded, failed=failed)
    return {**summary, "left_out": selection.left_out}


def _provenance(dataset: Dataset, predictor: Predictor, part: SplitName) -> dict[str, Any]:
    manifest = predictor.manifest
    return {
        "data set": dataset.name,
        "part": part,
        "model": manifest.name,
        "weights": manifest.weights_sha256,
        "run": manifest.provenance.run_id,
        "inference": predictor.config.model_dump(mode="json"),
        "device": predictor.compute.device.type,
        "backend": predictor.backend.name,
        "precision": predictor.compute.precision,
    }


def _incomplete(dataset: Dataset) -> list[FailedCase]:
    """Scans without a mask, masks without a scan, files that are listed but do not exist, and cases that lack one."""
    halves = (
        (dataset.unmasked, "Expected a mask for every scan; found none. Add it, or correct its name."),
        (dataset.orphan_masks, "Expected a scan for every mask; found none. Add it, or correct its name."),
        (dataset.missing, f"Expected the file, which {FILE_NAME} lists; found none. Copy it there."),
    )
    reasons: dict[str, list[str]] = defaultdict(list)
    names = Counter(dataset.case_of(path) for paths, _ in halves for path in paths)
    for paths, reason in halves:
        for path in paths:
            reasons[_name_of(path, dataset, names)].append(reason)
    for case, path in dataset.incomplete:
        lacking = f"Expected every file of the case; found no {printable(path.name)}. Add it, or correct its name."
        reasons[printable(case)].append(lacking)
    return [FailedCase(name, " ".join(found)) for name, found in reasons.items()]


def _name_of(path: Path, dataset: Dataset, names: Counter[str]) -> str:
    """What the case of a lonely file is called: after the file, with its folders where others are called the same."""
    name = dataset.case_of(path)
    if path in dataset.stray_cases or names[name] == 1 or not path.is_relative_to(dataset.root):
        return printable(name)
    return printable("__".join((*path.parent.relative_to(dataset.root).parts, name)))


def _hashes(dataset: Dataset, config: InferenceConfig, progress: ProgressLine) -> dict[str, str | FailedCase]:
    """Content hash of each case's scan by the case's name, or why it could not be read."""
    outcomes = read_all(read_hash, dataset.cases, "reading", config=config, progress=progress)
    return {outcome.item.name: outcome.value or _failed(outcome) for outcome in outcomes}


def _score_cases(cases: list[Case], predictor: Predictor, progress: ProgressLine) -> ScoredCases:
    manifest, result = predictor.manifest, ScoredCases()
    read = partial(read_case, fitted=manifest.preprocessing, values=frozenset(manifest.label_values))
    for outcome in read_all(read, cases, "evaluating", config=predictor.config, progress=progress):
        case, name = outcome.value, outcome.item.name
        if case is None:
            result.failed.append(_failed(outcome))
            continue
        try:
            mask = predictor.predict_prepared(case.prepared)
            scores = score_case(
                name,
                *within(case.field_of_view, mask, case.truth),
                labels=manifest.labels,
                config=manifest.evaluation,
                watershed=predictor.config.watershed,
            )
        except Exception as error:  # whatever it is, the scores of the other cases are kept
            result.failed.append(FailedCase(name, reason_of(error)))
            continue
        result.scores.extend(scores)
        result.reference_hashes[name] = case.truth_hash
    return result


def _cases(examples: list[Example], selection: Selection) -> list[Case]:
    by_name = {case.name: case for case in selection.cases}
    return [by_name[example.case] for example in examples]


def _predict_again(cases: list[Case], predictor: Predictor, progress: ProgressLine) -> Iterator[CaseMasks | Exception]:
    """The masks of a few cases, or why they cannot be had: all cases' masks at once would not fit into memory."""
    manifest = predictor.manifest
    values = frozenset(manifest.label_values)
    read = partial(read_case, fitted=manifest.preprocessing, values=values, keep_scan=True)
    for outcome in read_all(read, cases, "drawing", config=predictor.config, progress=progress):
        case = outcome.value
        if case is None:
            assert outcome.error is not None
            yield outcome.error
            continue
        try:
            mask, _ = within(case.field_of_view, predictor.predict_prepared(case.prepared), case.truth)
            yield CaseMasks(mask, case.truth, case.scan)
        except Exception as error:  # whatever it is, it costs the report a picture and no more
            yield error


def _failed(outcome: Outcome[Case, Any]) -> FailedCase:
    return FailedCase(outcome.item.name, str(outcome.error))
