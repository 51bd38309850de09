"""Whether a U-Net starts better from pretrained weights; writes a dated JSON file and a curve under docs/acceptance/.

A masked autoencoder learns from all training scans of the hippocampus set, without their masks. Then U-Nets are
trained with 8, 16, 32 and all of the masks, from its weights and from scratch, for the same number of steps, with the
same cases, the same batches and three seeds; each is scored on the cases kept for testing. Differences are paired by
case.

    python scripts/check_starts.py --data FOLDER [--runs FOLDER] [--steps N]

What is in the folder of runs is not done again, so that a measurement that was interrupted goes on. Steps bound it, not
minutes: a busy machine takes longer and measures the same.
"""

import argparse
import csv
import datetime
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data import DataConfig, SplitConfig
from pipeline.files import write_json
from pipeline.layouts.discover import discover
from pipeline.layouts.split import Split, choose_split, write_split
from pipeline.manifest import read_any_manifest
from pipeline.metrics.paired import compare_paired
from pipeline.provenance import code_commit

ROOT = Path(__file__).resolve().parent.parent
RECORDS, CONFIGS = ROOT / "docs" / "acceptance", ROOT / "configs"
SIZES, SEEDS = (8, 16, 32, None), (0, 1, 2)
EPOCHS = 4
STARTS = ("scratch", "pretrained")
DIVISION = SplitConfig(validation=0.04, test=0.2)


@dataclass(frozen=True)
class Bench:
    """What all trainings have in common: the data, where runs are kept, the split with all cases, and the steps."""

    data: Path
    runs: Path
    whole: Split
    steps: int


def main() -> int:
    """Make the measurement; it has no figure to reach, whichever way it falls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("MEDSEG_TEST_DATA")
    parser.add_argument("--data", type=Path, default=given, required=given is None, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "starts", help="where runs are kept")
    parser.add_argument("--steps", type=int, default=400, help="of each U-Net")
    arguments = parser.parse_args()
    data, runs = arguments.data.resolve() / "hippocampus", arguments.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    whole = choose_split(discover(DataConfig(root=data)).cases, DIVISION)
    start = pretrained(data, runs, whole)
    bench = Bench(data, runs, whole, arguments.steps)
    starts = dict(zip(STARTS, (None, start), strict=True))
    found = {
        (size, seed, how): scored(bench, size, seed, start=starts[how])
        for size in SIZES
        for seed in SEEDS
        for how in STARTS
    }
    record = summary(found, len(whole.train))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    head = {"date": today, "commit": code_commit(), "steps": arguments.steps}
    head |= {"pretraining_seconds": read_any_manifest(start).provenance.seconds}
    write_json(RECORDS / f"{today}-starts.json", head | record)
    print(json.dumps(record, indent=2))
    return 0


def pretrained(data: Path, runs: Path, whole: Split) -> Path:
    """The masked autoencoder's model."""
    run, split = runs / "masked", runs / "whole.json"
    if not (run / "model" / "model.json").exists():
        write_split(split, whole, DIVISION)
        medseg("pretrain", CONFIGS / "autoencoders" / "masked.yaml", *common(data, runs, split), "-o", run)
    return run / "model"


def scored(bench: Bench, size: int | None, seed: int, *, start: Path | None) -> dict[str, float]:
    """Mean Dice over labels of each test case, of a U-Net that was trained on so many cases."""
    data, runs, whole, steps = bench.data, bench.runs, bench.whole, bench.steps
    count = size or len(whole.train)
    run = runs / f"{count}-{seed}-{STARTS[start is not None]}-{steps}"
    if not (run / "evaluation" / "cases.csv").exists():
        split = runs / f"{count}-{seed}.json"
        write_split(split, with_cases(whole, count, seed), DIVISION)
        settings = [
            *common(data, runs, split),
            f"training.seed={seed}",
            f"training.max_epochs={EPOCHS}",
            f"training.iterations_per_epoch={steps // EPOCHS}",
            "training.max_minutes=null",
            f"training.validate_every={EPOCHS}",
            "gate.enabled=false",
            "estimate.enabled=false",
            *([] if start is None else [f"network.init_from={start}"]),
        ]
        medseg("train", CONFIGS / "hippocampus.yaml", *settings, "-o", run)
        medseg("evaluate", run / "model", data, "-o", run / "evaluation", "--split", "test", "--no-tta", "--no-track")
    return dice_of(run / "evaluation" / "cases.csv")


def with_cases(whole: Split, count: int, seed: int) -> Split:
    """The split with so many training cases, drawn by the seed; a larger number has those of a smaller one."""
    order = np.random.default_rng(seed).permutation(len(whole.train))
    kept = {whole.train[place] for place in order[:count]}
    return Split(tuple(sorted(kept)), whole.validation, whole.test, tuple(sorted({*whole.train} - kept)))


def common(data: Path, runs: Path, split: Path) -> list[str]:
    """Settings of every run."""
    return [
        f"data.root={data}",
        f"data.split.file={split}",
        f"cache.folder={runs / 'cache'}",
        "tracking.experiment=starts",
    ]


def medseg(*words: str | Path) -> None:
    """Run a command of this checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    line = [sys.executable, "-m", "pipeline", *map(str, words)]
    subprocess.run(line, env=environment | {"PYTHONPATH": str(ROOT)}, check=True)


def dice_of(table: Path) -> dict[str, float]:
    """Mean Dice over labels, by case."""
    by_case: dict[str, list[float]] = {}
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            by_case.setdefault(row["case"], []).append(float(row["dice"]))
    return {case: float(np.mean(values)) for case, values in by_case.items()}


def summary(found: dict[tuple[int | None, int, str], dict[str, float]], whole: int) -> dict[str, Any]:
    """Of each number of cases, the mean Dice of both starts, by seed, and the difference, paired by case."""
    rows = {}
    for size in SIZES:
        means = {how: [float(np.mean([*found[size, seed, how].values()])) for seed in SEEDS] for how in STARTS}
        scratch, start = (over_seeds(found, size, how) for how in STARTS)
        difference = compare_paired(scratch, start, higher_is_better=True, samples=2000, seed=0)
        rows[str(size or whole)] = {
            **{how: {"mean_dice": float(np.mean(values)), "by_seed": values} for how, values in means.items()},
            "difference": asdict(difference),
        }
    return {"test_cases": len(next(iter(found.values()))), "training_cases": rows}


def over_seeds(found: dict[tuple[int | None, int, str], dict[str, float]], size: int | None, how: str) -> NDArray:
    """Dice of each test case, the mean over seeds."""
    cases = sorted(found[size, SEEDS[0], how])
    return np.array([np.mean([found[size, seed, how][case] for seed in SEEDS]) for case in cases])


if __name__ == "__main__":
    sys.exit(main())
