"""What must be true of predicted Dice; writes a dated JSON file under docs/acceptance/.

All cases of the hippocampus set are divided into five folds. For each fold a model is trained on the others, a few of
whose cases are its validation part, to which predicted Dice is fitted as `medseg train` does it. Then the model
segments the cases of the fold, as they are and with each kind of damage at a strength drawn at random, and what it
predicts is compared with the Dice.

    python scripts/check_estimate.py --data FOLDER [--runs FOLDER] [--epochs N]

What is in the folder of runs is not done again, so that a measurement that was interrupted goes on. Epochs bound the
trainings, not minutes: a busy machine takes longer and measures the same. Two simple ways
are compared: the mean Dice of the validation cases (of damaged scans, that of their damaged versions), and a
regression on nothing but the agreement between mirrored predictions, fitted to the same masks.
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
from scipy.stats import spearmanr

from pipeline.config.data import DataConfig, SplitConfig
from pipeline.config.load import load_config
from pipeline.damage.kinds import DAMAGES
from pipeline.files import write_json
from pipeline.inference.estimate import FittedEstimates
from pipeline.inference.predictor import Predictor
from pipeline.layouts.case_files import read_classes, read_image
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.discover import discover
from pipeline.layouts.split import Split, read_split, write_split
from pipeline.model import load_model
from pipeline.provenance import code_commit
from pipeline.quality.folds import group_folds
from pipeline.quality.masks import MaskExample
from pipeline.quality.regression import DiceRegression
from pipeline.training.estimate import Learnt, UnseenCase, collect, example_of, version_of

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "acceptance"
FOLDS, VALIDATION_SHARE = 5, 0.15
BETTER, LEAST_CORRELATION, COVERED = 0.2, 0.7, (0.85, 0.95)
WAYS = ("single", "mirrored")
Row = dict[str, Any]


def main() -> int:
    """Make the measurement; 1 where it does not reach what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("MEDSEG_TEST_DATA")
    parser.add_argument("--data", type=Path, default=given, required=given is None, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "estimate", help="where runs are kept")
    parser.add_argument("--epochs", type=int, default=30, help="of each training")
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


def rows_of_fold(dataset: Dataset, runs: Path, fold: int, *, epochs: int) -> dict[str, list[Row]]:
    """What was predicted and what was found, of each label of each mask of a fold."""
    path = runs / f"fold-{fold}.json"
    if not path.exists():
        run = trained(dataset, runs, fold, epochs=epochs)
        write_json(path, judged(dataset, run, fold))
        progress(f"fold {fold}")
    found: dict[str, list[Row]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def trained(dataset: Dataset, runs: Path, fold: int, *, epochs: int) -> Path:
    """A run whose test part is the fold."""
    run, split = runs / f"run-{fold}", runs / f"split-{fold}.json"
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


def judged(dataset: Dataset, run: Path, fold: int) -> dict[str, list[Row]]:
    """The masks that were fitted to, and those of the fold."""
    model, config = load_model(run / "model"), load_config(run / "config.yaml", [])
    predictors = [Predictor(model, config.inference.model_copy(update={"tta": way == "mirrored"})) for way in WAYS]
    fitted = predictors[0].estimates
    assert fitted is not None
    learnt = Learnt(fitted.shapes, fitted.scans, np.zeros(0))
    names, by_name = read_split(run / "split.json", dataset.cases), {case.name: case for case in dataset.cases}
    unseen = [unseen_case(by_name[name], dataset) for name in names.validation]
    seed, quiet = config.training.seed, lambda _: None
    examples = collect(predictors, unseen, config.estimate, learnt=learnt, seed=seed, progress=quiet)
    known = [row for way, own in zip(WAYS, examples, strict=True) for row in rows_of(own, fitted, way=way)]
    numbers = {patient: str(number) for number, patient in enumerate(sorted({row["mask"] for row in known}))}
    known = [row | {"mask": numbers[row["mask"]]} for row in known]  # no name of a case
    found = list[Row]()
    for number, name in enumerate(names.test):
        scan, truth = unseen_case(by_name[name], dataset).read()
        for damage in range(1 + len(DAMAGES)):
            version = version_of(scan, truth, damage, seed=1000 * (1 + fold) + number)
            for way, predictor in zip(WAYS, predictors, strict=True):
                own = [example_of(version, predictor, learnt, patient=f"{fold}.{number}")]
                found += rows_of(own, fitted, way=way)
    return {"fitted_to": known, "unseen": found}


def unseen_case(case: Case, dataset: Dataset) -> UnseenCase:
    """A case to be read when it is needed."""
    values = tuple(dataset.labels.values())
    return UnseenCase(case.name, lambda: (read_image(case.images), read_classes(case, values)), case.patient)


def rows_of(examples: Sequence[MaskExample], fitted: FittedEstimates, *, way: str) -> Iterator[Row]:
    """What is known, predicted and found of each label of masks."""
    estimates = fitted.single if way == "single" else fitted.mirrored
    assert estimates is not None, "the configuration has no inference.tta"
    for example in examples:
        rows = example.evidence.rows(estimates.usual_size)
        predicted = estimates.predict(example.evidence)
        for label, (row, each) in enumerate(zip(rows, predicted, strict=True)):
            if each is not None and np.isfinite(example.dice[label]):
                yield {
                    "way": way,
                    "mask": example.patient,
                    "label": label,
                    "damage": example.damage,
                    "features": row.round(5).tolist(),
                    "is_empty": not example.evidence.voxels[label],
                    "dice": float(example.dice[label]),
                    "predicted": each.dice,
                    "low": each.low,
                    "high": each.high,
                    "usual": each.usual,
                }


def summary(folds: Sequence[dict[str, list[Row]]]) -> dict[str, Any]:
    """Errors, correlation and coverage: of scans as they are and of damaged ones, with and without mirroring."""
    found: dict[str, Any] = {}
    for way in WAYS:
        rows = [row | baselines for fold in folds for row, baselines in with_baselines(fold, way)]
        parts = {
            "as_they_are": [row for row in rows if not row["damage"]],
            "damaged": [row for row in rows if row["damage"]],
            "all": rows,
        }
        found[way] = {name: figures(part) for name, part in parts.items()}
        found[way]["by_damage"] = {kind: figures([row for row in rows if row["damage"] == kind]) for kind in DAMAGES}
    wanted = {
        **{
            f"error at least {BETTER:.0%} below the mean's, {way}, {part}": found[way][part]["error"]
            <= (1 - BETTER) * found[way][part]["error_of_the_mean"]
            for way in WAYS
            for part in ("as_they_are", "damaged")
        },
        **{
            f"error below that of agreement alone, {part}": found["mirrored"][part]["error"]
            < found["mirrored"][part]["error_of_agreement"]
            for part in ("as_they_are", "damaged")
        },
        **{
            f"rank correlation {LEAST_CORRELATION} or more on damaged scans, {way}": found[way]["damaged"][
                "correlation"
            ]
            >= LEAST_CORRELATION
            for way in WAYS
        },
        **{
            f"intervals cover {COVERED[0]:.0%} to {COVERED[1]:.0%}, {way}, {part}": COVERED[0]
            <= found[way][part]["covered"]
            <= COVERED[1]
            for way in WAYS
            for part in ("as_they_are", "damaged")
        },
    }
    return {"folds": len(folds), **found, "wanted": wanted, "reached": all(wanted.values())}


def with_baselines(fold: dict[str, list[Row]], way: str) -> Iterator[tuple[Row, Row]]:
    """Each row of the fold's unseen masks, and what the two simple ways say of it."""
    for label in sorted({row["label"] for row in fold["unseen"]}):
        known, unseen = (
            [row for row in fold[part] if row["way"] == way and row["label"] == label]
            for part in ("fitted_to", "unseen")
        )
        means = {
            damaged: np.mean([row["dice"] for row in known if bool(row["damage"]) == damaged])
            for damaged in (False, True)
        }
        agreed = by_agreement(known, unseen) if way == "mirrored" else [None] * len(unseen)
        for row, agreement in zip(unseen, agreed, strict=True):
            yield row, {"mean": float(means[bool(row["damage"])]), "by_agreement": agreement}


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
    dice, predicted, mean = (np.array([row[key] for row in rows]) for key in ("dice", "predicted", "mean"))
    inside = [row["low"] <= row["dice"] <= row["high"] for row in rows]
    found = {
        "masks": len(rows),
        "mean_dice": float(dice.mean()),
        "error": float(np.abs(dice - predicted).mean()),
        "error_of_the_mean": float(np.abs(dice - mean).mean()),
        "correlation": float(spearmanr(dice, predicted).statistic),
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
