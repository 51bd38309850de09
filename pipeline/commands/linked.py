"""Evaluations and predictions as runs in MLflow, linked to the run that trained their model."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.commands.evaluate import evaluate
from pipeline.commands.predict import Options, Predictions, predict
from pipeline.commands.prediction_record import FILE_NAME
from pipeline.commands.run_folder import locked
from pipeline.commands.score import Evaluation
from pipeline.commands.selection import SplitName
from pipeline.commands.surroundings import describe_code_and_machine
from pipeline.config.inference import InferenceConfig
from pipeline.config.tracking import TrackingConfig
from pipeline.evaluation.record import FIGURES, METRICS_FILE, REPORT, TABLE
from pipeline.files import write_json
from pipeline.manifest import Manifest
from pipeline.model import Model
from pipeline.provenance import code_commit
from pipeline.tracking.identity import Place
from pipeline.tracking.records import UsedDataset, content_digest
from pipeline.tracking.run import TrackedRun, track

TRAINING_RUN = "training_run_id"
CASES = "cases.json"


def evaluate_tracked(
    model: Model,
    root: Path,
    output: Path,
    *,
    part: SplitName | None,
    config: InferenceConfig,
    console: Console,
) -> Evaluation:
    """As `evaluate`, and a run in MLflow."""
    with ExitStack() as held, _linked_run("evaluate", model.manifest, config) as run:
        result = evaluate(model, root, output, part=part, config=config, console=console)
        held.enter_context(_kept_in(output, run))
        own = root if result.is_own and model.manifest.provenance.names_cases else None
        _record_evaluation(run, output, own)
    return replace(result, run_id=run.run_id)


def predict_tracked(
    model: Model,
    source: Path,
    output: Path,
    *,
    config: InferenceConfig,
    console: Console,
    options: Options | None = None,
) -> Predictions:
    """As `predict`, and a run in MLflow."""
    with ExitStack() as held, _linked_run("predict", model.manifest, config) as run:
        result = predict(model, source, output, config=config, console=console, options=options)
        place = held.enter_context(_kept_in(output, run))
        _record_predictions(run, place, result.rows)
    return result


@contextmanager
def _kept_in(output: Path, run: TrackedRun) -> Iterator[Place]:
    """Keep a run's records with its results, where no `medseg sync` sends them as long as the block runs."""
    place = Place.of_results(output, run.identity.own_id)
    with locked(place):
        run.keep_in(place)
        yield place


@contextmanager
def _linked_run(command: str, manifest: Manifest, settings: InferenceConfig) -> Iterator[TrackedRun]:
    """A run that hangs on the one that trained the model, where the same store knows that.

    Args:
        command: evaluate or predict.
        manifest: the model.
        settings: how it is run.
    """
    training = manifest.provenance.run_id
    # the data of this command may be of other patients than the model's, so no text that can name a case is told
    with track(TrackingConfig(), f"{command} {manifest.name}", parent_id=training, tells_errors=False) as run:
        run.set_tags(describe_code_and_machine(command, code_commit()))
        run.set_tags({TRAINING_RUN: training or "unknown", "weights_sha256": manifest.weights_sha256})
        run.log_settings({"model_name": manifest.name, "inference": settings.model_dump(mode="json")})
        yield run


def _record_evaluation(run: TrackedRun, output: Path, own: Path | None) -> None:
    """Record the means of an evaluation, and its files where these name nobody whom MLflow does not know.

    Args:
        run: as `_linked_run` gives it.
        output: what `evaluate` wrote.
        own: the data set, where the model was trained on it and its cases may be named; else None, and not even the
            name of its folder is told.
    """
    content = json.loads((output / METRICS_FILE).read_text(encoding="utf-8"))
    provenance = content["provenance"]
    run.log_metrics(_means(content), step=0)
    digest = provenance["cases_digest"][:32]
    name, source = (provenance["data set"], str(own.resolve())) if own is not None else ("another data set", "")
    used = UsedDataset(name=name, digest=digest, source=source, context="evaluation", cases=content["cases"])
    run.log_datasets([used])
    run.set_tags({"dataset": name, "part": provenance["part"]})
    run.log_file(output / FIGURES, FIGURES)
    for file in (METRICS_FILE, TABLE, REPORT) if own is not None else ():
        run.log_file(output / file)


def _means(content: dict[str, Any]) -> dict[str, float | None]:
    """Means over cases with their intervals, by metric and label."""
    values: dict[str, float | None] = {
        "mean_dice": content["mean_dice"],
        "cases": content["cases"],
        "failed": len(content["failed_cases"]),
    }
    for label, metrics in content["labels"].items():
        for metric, statistics in metrics.items():
            low, high = statistics["ci95"] or (None, None)
            values |= {
                f"{metric}_{label}": statistics["mean"],
                f"{metric}_{label} low": low,
                f"{metric}_{label} high": high,
            }
    return values


def _record_predictions(run: TrackedRun, place: Place, rows: list[dict[str, Any]]) -> None:
    """Record what became of scans: counts, and a table that knows them by the hash of their content alone.

    Args:
        run: as `_linked_run` gives it.
        place: what `predict` wrote; its manifest.json says which file has which hash.
        rows: of cases.csv.
    """
    written = json.loads((place.root / FILE_NAME).read_text(encoding="utf-8"))["cases"]
    hashes = {case: record["input_sha256"] for case, record in written.items()}
    counts = {status: sum(row["status"] == status for row in rows) for status in ("ok", "review", "failed", "skipped")}
    run.log_metrics(counts | {"seconds": sum(row["seconds"] for row in rows)}, step=0)
    used = [hashes[row["case"]] for row in rows if row["case"] in hashes]
    digest = content_digest(used)
    run.log_datasets([UsedDataset(name="scans", digest=digest, source="", context="prediction", cases=len(used))])
    volumes = sorted({name for row in rows for name in row if name.endswith(("_ml", "_px", "_instances"))})
    columns = ["input_sha256", "status", "action", "seconds", *volumes]
    data = [[hashes.get(row["case"], ""), *(row.get(name) for name in columns[1:])] for row in rows]
    table = place.outbox / CASES
    write_json(table, {"columns": columns, "data": data})
    run.log_file(table)
    run.set_tags({"mlflow.loggedArtifacts": json.dumps([{"path": CASES, "type": "table"}])})
