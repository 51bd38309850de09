"""What must be true of predicted Dice; writes a dated JSON file under docs/acceptance/.

All cases of the hippocampus set are divided into five folds. For each fold a model is trained on the others, a few of
whose cases are its validation part, to which predicted Dice is fitted as `medseg train` does it. Then the model
segments the cases of the fold, as they are and with each kind of damage at a strength drawn at random, and what it
predicts is compared with the Dice.

    python scripts/check_estimate.py --data FOLDER [--runs FOLDER] [--epochs N]

What is in the folder of runs is not done again, so that a measurement that was interrupted goes on. Epochs bound the
trainings, not minutes: a busy machine takes longer and measures the same. Two simple ways are compared: the mean Dice
of the validation cases (of damaged scans, that of their damaged versions), and a regression on nothing but the
agreement between mirrored predictions, fitted to the same masks. Each kind of damage is judged once more by a fit that
does not know it.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from pipeline.config.data import DataConfig, SplitConfig
from pipeline.config.estimate import EstimateConfig
from pipeline.config.load import load_config
from pipeline.damage.kinds import DAMAGES
from pipeline.files import write_json
from pipeline.inference.predictor import Predictor
from pipeline.layouts.case_files import read_classes, read_image
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.discover import discover
from pipeline.layouts.split import Split, read_split, write_split
from pipeline.model import load_model
from pipeline.provenance import code_commit
from pipeline.quality.folds import group_folds
from pipeline.quality.masks import LabelEstimate, MaskExample
from pipeline.quality.regression import DiceRegression
from pipeline.training.estimate import Learnt, UnseenCase, collect, example_of, version_of

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "acceptance"
FOLDS, VALIDATION_SHARE = 5, 0.15
BETTER, LEAST_CORRELATION, COVERED = 0.2, 0.7, (0.85, 0.95)
WAYS = ("single", "mirrored")
PARTS = ("all", "as_they_are", "damaged")
LABELS = 2
Row = dict[str, Any]
Measured = dict[str, list[Row]]
"""Of a fold: the masks that predicted Dice is fitted to, and those to judge it by."""


def main() -> int:
    """Make the measurement; 1 where it does not reach what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("MEDSEG_TEST_DATA")
    parser.add_argument("--data", type=Path, default=given, required=given is None, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "estimate", help="where runs are kept")
    parser.add_argument("--epochs", type=int, default=24, help="of each training")
    parser.add_argument("--folds", type=int, default=FOLDS, help="as many of the folds alone")
    arguments = parser.parse_args()
    data, runs = arguments.data.resolve() / "hippocampus", arguments.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    dataset = discover(DataConfig(root=data))
    folds = [rows_of_fold(dataset, runs, fold, epochs=arguments.epochs) for fold in range(arguments.folds)]
    record = summary(folds)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_json(
        RECORDS / f"{today}-estimate.json",
        {"date": today, "commit": code_commit(), "epochs": arguments.epochs} | record,
    )
    print(json.dumps(record, indent=2))
    return 0 if record["reached"] else 1


def rows_of_fold(dataset: Dataset, runs: Path, fold: int, *, epochs: int) -> Measured:
    """What is known and what was found, of each label of each mask of a fold."""
    path = runs / f"fold-{fold}-{epochs}.json"
    if not path.exists():
        run = trained(dataset, runs, fold, epochs=epochs)
        write_json(path, measured(dataset, run, fold))
        progress(f"fold {fold}")
    found: Measured = json.loads(path.read_text(encoding="utf-8"))
    return found


def trained(dataset: Dataset, runs: Path, fold: int, *, epochs: int) -> Path:
    """A run whose test part is the fold."""
    run, split = runs / f"run-{fold}-{epochs}", runs / f"split-{fold}.json"
    if (run / "model" / "estimate.safetensors").exists():
        return run
    write_split(split, division(dataset.cases, fold), SplitConfig())
    settings = [
        f"data.root={dataset.root}",
        f"data.split.file={split}",
        f"cache.folder={runs / 'cache'}",
        f"training.max_epochs={epochs}",
        "training.max_minutes=null",
        "estimate.max_minutes=120",
        "gate.enabled=false",
        "tracking.experiment=estimate",
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    line = [sys.executable, "-m", "pipeline", "train", str(ROOT / "configs" / "hippocampus.yaml"), *settings]
    subprocess.run([*line, "-o", str(run)], cwd=runs, env=environment | {"PYTHONPATH": str(ROOT)}, check=True)
    return run


def division(cases: Sequence[Case], fold: int) -> Split:
    """The fold is for testing; a share of the other patients, drawn at random, for validation."""
    patients = np.array([case.patient for case in cases])
    fold_of = group_folds(patients, FOLDS)
    others = np.unique(patients[fold_of != fold])
    drawn = np.random.default_rng(fold).permutation(others)[: round(VALIDATION_SHARE * len(others))]
    validated = np.isin(patients, drawn)
    parts = ((fold_of != fold) & ~validated, validated, fold_of == fold)
    train, validation, test = (
        tuple(sorted(cases[place].name for place in np.flatnonzero(part).tolist())) for part in parts
    )
    return Split(train, validation, test)


def measured(dataset: Dataset, run: Path, fold: int) -> dict[str, list[Row]]:
    """The masks that predicted Dice is fitted to, and those of the fold."""
    model, config = load_model(run / "model"), load_config(run / "config.yaml", [])
    predictors = [Predictor(model, config.inference.model_copy(update={"tta": way == "mirrored"})) for way in WAYS]
    fitted = predictors[0].estimates
    assert fitted is not None
    learnt, usual_size = Learnt(fitted.shapes, fitted.scans, np.zeros(0)), fitted.single.usual_size
    names, by_name = read_split(run / "split.json", dataset.cases), {case.name: case for case in dataset.cases}
    known = [unseen_case(by_name[name], dataset) for name in names.validation]
    seed, quiet = config.training.seed, lambda _: None
    examples = collect(predictors, known, config.estimate, learnt=learnt, seed=seed, progress=quiet)
    numbers = {patient: str(number) for number, patient in enumerate(sorted({case.patient for case in known}))}
    rows = [
        row | {"mask": numbers[row["mask"]]}  # no name of a case
        for way, own in zip(WAYS, examples, strict=True)
        for row in rows_of(own, usual_size, way=way)
    ]
    found = list[Row]()
    for number, name in enumerate(names.test):
        scan, truth = unseen_case(by_name[name], dataset).read()
        for damage in range(1 + len(DAMAGES)):
            version = version_of(scan, truth, damage, seed=1000 * (1 + fold) + number)
            for way, predictor in zip(WAYS, predictors, strict=True):
                own = [example_of(version, predictor, learnt, patient=f"{fold}.{number}")]
                found += rows_of(own, usual_size, way=way)
    return {"fitted_to": rows, "unseen": found}


def unseen_case(case: Case, dataset: Dataset) -> UnseenCase:
    """A case to be read when it is needed."""
    values = tuple(dataset.labels.values())
    return UnseenCase(case.name, lambda: (read_image(case.images), read_classes(case, values)), case.patient)


def rows_of(examples: Sequence[MaskExample], usual_size: NDArray[np.float64], *, way: str) -> Iterator[Row]:
    """What is known and found of each label of masks."""
    for example in examples:
        for label, row in enumerate(example.evidence.rows(usual_size)):
            if np.isfinite(example.dice[label]):
                yield {
                    "way": way,
                    "mask": example.patient,
                    "label": label,
                    "damage": example.damage,
                    "features": row.round(5).tolist(),
                    "is_empty": not example.evidence.voxels[label],
                    "dice": float(example.dice[label]),
                }


def summary(folds: Sequence[Measured]) -> dict[str, Any]:
    """Errors, correlation and coverage: of scans as they are and of damaged ones, with and without mirroring."""
    found = {way: figures_of_way(folds, way) for way in WAYS}
    wanted = wishes(found)
    return {"folds": len(folds), **found, "wanted": wanted, "reached": all(wanted.values())}


def figures_of_way(folds: Sequence[Measured], way: str) -> dict[str, Any]:
    """Of all masks, of those of scans as they are, and of damaged ones by kind, whether or not it was fitted to."""
    rows = [row for fold in folds for row in predicted(fold, way)]
    clean, damaged = ([row for row in rows if bool(row["damage"]) == is_damaged] for is_damaged in (False, True))
    by_damage = {}
    for kind in DAMAGES:
        new = [row for fold in folds for row in predicted(fold, way, unknown=kind) if row["damage"] == kind]
        by_damage[kind] = figures([row for row in damaged if row["damage"] == kind]) | {"of_a_new_kind": figures(new)}
    parts = {"all": rows, "as_they_are": clean, "damaged": damaged}
    return {name: figures(part) for name, part in parts.items()} | {"by_damage": by_damage}


def wishes(found: dict[str, Any]) -> dict[str, bool]:
    """What is wanted, and whether it was found."""
    wanted = {}
    for part in PARTS:
        for way in WAYS:
            each = found[way][part]
            wanted[f"error at least {BETTER:.0%} below the mean's, {way}, {part}"] = (
                each["error"] <= (1 - BETTER) * each["error_of_the_mean"]
            )
            wanted[f"intervals cover {COVERED[0]:.0%} to {COVERED[1]:.0%}, {way}, {part}"] = (
                COVERED[0] <= each["covered"] <= COVERED[1]
            )
        mirrored = found["mirrored"][part]
        wanted[f"error below that of agreement alone, {part}"] = mirrored["error"] < mirrored["error_of_agreement"]
    for way in WAYS:
        correlation = found[way]["damaged"]["correlation"]
        wanted[f"rank correlation {LEAST_CORRELATION} or more on damaged scans, {way}"] = (
            correlation >= LEAST_CORRELATION
        )
    return wanted


def predicted(fold: Measured, way: str, *, unknown: str | None = None) -> Iterator[Row]:
    """Each of the unseen masks with what is predicted of it, by a fit that does not know a kind of damage if asked."""
    for label in sorted({row["label"] for row in fold["unseen"]}):
        known, unseen = (
            [row for row in fold[part] if row["way"] == way and row["label"] == label]
            for part in ("fitted_to", "unseen")
        )
        known = [row for row in known if not unknown or row["damage"] != unknown]
        means = {
            is_damaged: float(np.mean([row["dice"] for row in known if bool(row["damage"]) == is_damaged]))
            for is_damaged in (False, True)
        }
        agreed = by_agreement(known, unseen) if way == "mirrored" else [None] * len(unseen)
        for row, ours, agreement in zip(unseen, by_estimate(known, unseen), agreed, strict=True):
            yield row | ours | {"mean": means[bool(row["damage"])], "by_agreement": agreement}


def by_estimate(known: list[Row], unseen: list[Row]) -> list[Row]:
    """Predicted Dice and interval, fitted as `medseg train` does it; no label may be missing."""
    settings, filled = EstimateConfig(), [row for row in known if not row["is_empty"]]
    fitted = LabelEstimate.fit(
        np.array([row["features"] for row in filled]),
        np.array([row["dice"] for row in filled]),
        patients=np.array([row["mask"] for row in filled]),
        is_damaged=np.array([bool(row["damage"]) for row in filled]),
        alarm_rate=settings.false_alarm_rate / LABELS,
    )
    features = np.array([row["features"] for row in unseen])
    dice, intervals = fitted.regression.predicted(features), fitted.regression.interval(features, 1 - settings.coverage)
    found = ({"predicted": each, "low": low, "high": high} for each, (low, high) in zip(dice, intervals, strict=True))
    nothing = {"predicted": 0.0, "low": 0.0, "high": 0.0}
    return [
        (nothing if row["is_empty"] else each) | {"usual": fitted.usual}
        for row, each in zip(unseen, found, strict=True)
    ]


def by_agreement(known: list[Row], unseen: list[Row]) -> list[float]:
    """Dice predicted by a regression on the agreement of mirrored predictions alone."""
    filled = [row for row in known if not row["is_empty"]]
    features, new = (np.array([[row["features"][-1]] for row in part]) for part in (filled, unseen))
    patients = np.array([row["mask"] for row in filled])
    fitted = DiceRegression.fit(features, np.array([row["dice"] for row in filled]), groups=patients)
    predicted = fitted.predicted(new).tolist()
    return [0.0 if row["is_empty"] else dice for row, dice in zip(unseen, predicted, strict=True)]


def figures(rows: list[Row]) -> dict[str, Any]:
    """What the predictions of some masks come to."""
    dice, ours, mean = (np.array([row[key] for row in rows]) for key in ("dice", "predicted", "mean"))
    inside = [row["low"] <= row["dice"] <= row["high"] for row in rows]
    found = {
        "masks": len(rows),
        "mean_dice": float(dice.mean()),
        "error": float(np.abs(dice - ours).mean()),
        "error_of_the_mean": float(np.abs(dice - mean).mean()),
        "correlation": float(spearmanr(dice, ours).statistic),
        "covered": float(np.mean(inside)),
        "below_what_is_usual": float(np.mean([row["predicted"] < row["usual"] for row in rows])),
        "width": float(np.mean([row["high"] - row["low"] for row in rows])),
    }
    if rows[0]["by_agreement"] is not None:
        found["error_of_agreement"] = float(np.mean([abs(row["dice"] - row["by_agreement"]) for row in rows]))
    return {name: round(value, 4) for name, value in found.items()}


def progress(text: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
