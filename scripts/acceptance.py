"""The measurements that take longer than a test: each one writes a dated JSON file under docs/acceptance/.

hippocampus   Dice of configs/hippocampus.yaml on its test cases after 10 and after 40 minutes
isbi2012, drive, nuclei, acdc
              scores of the final weights after the minutes of their configurations, on the test cases, or on the
              validation cases where none are kept for testing
blocks        kinds of blocks, kernels and skip connections after the same number of updates, on two data sets
determinism   the same weights whatever the number of workers
demo          how long `medseg demo` takes and how good its masks are, beside the best threshold
"""

import argparse
import csv
import datetime
import json
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from pipeline.commands.surroundings import processor_name
from pipeline.config.load import load_config
from pipeline.files import write_json
from pipeline.networks.summary import summarise_unet
from pipeline.provenance import code_commit

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
RECORDS = ROOT / "docs" / "acceptance"
WANTED_DICE = {10.0: 0.86, 40.0: 0.88}
"""Mean Dice that the hippocampus should reach, by minutes of training on two CPU cores."""
WANTED_IMAGES = {
    "isbi2012": {"rand_f": 0.92, "dice": 0.81},
    "drive": {"dice": 0.80},
    "nuclei": {"dice": 0.90},
    "acdc": {"dice": 0.84},
}
"""Means over labels of the means over unseen cases that each configuration should reach in its own time."""
REPORTED = ("dice", "rand_f", "vi_split", "vi_merge", "instance_f1", "cl_dice", "hd95_mm", "hd95_px")
"""Metrics that a record has, where the evaluation does."""
BLOCK_DATA = {"hippocampus": ("test", 8, "[8,16,32,64]"), "isbi2012": ("val", 8, "[12,24,48,96]")}
"""Part that is scored, epochs of training, and features: half those of the configuration, for twelve trainings."""
SMALL = ["network.encoder_convolutions=[2,2,2,2]", "network.decoder_convolutions=[2,2,2]"]
SINGLE = ["network.encoder_convolutions=[1,1,1,1]", "network.decoder_convolutions=[1,1,1]"]
BASELINE = "two convolutions of 3"
VARIANTS = {
    BASELINE: SMALL,
    "one convolution of 5": [*SINGLE, "network.kernels={kernels}"],
    "residual": [*SINGLE, "network.block=residual"],
    "inception": [*SMALL, "network.block=inception"],
    "attention gates": [*SMALL, "network.attention=true"],
    "no skip connections": [*SMALL, "network.skips=[false,false,false]"],
}
"""Networks that differ in one thing. Max pooling goes before each stage, so that one kernel of 5 reaches as far as two
of 3; a residual block has two convolutions."""
WANTED_DEMO = {"demo_seconds": 360.0, "mean_dice": 0.9}
WORKERS = {"0 workers": 0, "1 worker": 1, "2 workers": 2, "2 workers again": 2}
VERDICTS = {True: "reached", False: "NOT reached", None: "measured, nothing is wanted of it"}


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        data: folder of the real data sets, or None.
        scratch: where runs are written.
        minutes: training times of the hippocampus.
        commit: of the code; asked once, because the checkout may go on while it is measured.
        overrides: further settings for every training, for a quick try.
    """

    data: Path | None
    scratch: Path
    minutes: tuple[float, ...]
    commit: str | None
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A result.

    Attributes:
        name: of the record's file.
        command: the training, as it was typed.
        results: what was found.
        wanted: what should be reached.
        reached: whether it was; None where nothing is wanted.
    """

    name: str
    command: str
    results: dict[str, Any]
    wanted: dict[str, Any]
    reached: bool | None


class MissingDataError(Exception):
    """A measurement that cannot be made here, and why."""


def hippocampus(options: Options) -> Iterator[Measured]:
    """Train with each bound, and score the test cases with and without mirroring."""
    data = _data(options, "hippocampus")
    for minutes in options.minutes:
        yield _hippocampus(options, data, minutes)


def images(name: str, options: Options) -> Iterator[Measured]:
    """Train a shipped configuration for as long as it says, and score the final weights on cases it has not seen."""
    data = _data(options, name)
    run, config = options.scratch / name, load_config(CONFIGS / f"{name}.yaml", list(options.overrides))
    command = _train(options, name, run, settings=[f"data.root={data}", *options.overrides])
    part = "test" if config.data.split.test else "val"
    _medseg(options, "evaluate", str(run / "model"), str(data), "-o", str(run / "evaluation"), "--split", part)
    results = {"minutes": config.training.max_minutes, "part": part, **_scores(run / "evaluation")}
    results["training"] = _manifest(run)["provenance"]
    wanted = WANTED_IMAGES[name]
    reached = all((results["means"][metric] or 0.0) >= value for metric, value in wanted.items())
    yield Measured(name, command, results, wanted, reached)


def blocks(options: Options) -> Iterator[Measured]:
    """Train each of `VARIANTS` for the same number of updates, score it, and compare it with the first."""
    for name in BLOCK_DATA:
        data = _data(options, name)
        results = {variant: _block(options, name, data, variant=variant) for variant in VARIANTS}
        yield Measured(f"blocks-{name}", f"medseg train configs/{name}.yaml", results, {}, None)


def determinism(options: Options) -> Iterator[Measured]:
    """Train three epochs with different numbers of workers, one of them twice, and compare the weights."""
    yield _determinism(options, "demo", [])
    if options.data is not None and (options.data / "hippocampus").is_dir():
        yield _determinism(options, "hippocampus", [f"data.root={options.data / 'hippocampus'}"])


def demo(options: Options) -> Iterator[Measured]:
    """Run the demo and compare its masks with the best that thresholds can do."""
    started = time.monotonic()
    command = _medseg(options, "demo", *options.overrides, f"cache.folder={options.scratch / 'cache'}", config="demo")
    seconds = round(time.monotonic() - started, 1)
    (evaluation,) = options.scratch.glob("runs/demo/*/evaluation")
    scores = _scores(evaluation)
    results = {"demo_seconds": seconds, **scores, "best_two_thresholds_mean_dice": _threshold_dice(evaluation)}
    reached = seconds <= WANTED_DEMO["demo_seconds"] and (scores["mean_dice"] or 0) >= WANTED_DEMO["mean_dice"]
    yield Measured("demo", command, results, WANTED_DEMO, reached)


MEASUREMENTS: dict[str, Callable[[Options], Iterator[Measured]]] = {
    "determinism": determinism,
    "demo": demo,
    "hippocampus": hippocampus,
    **{name: partial(images, name) for name in WANTED_IMAGES},
    "blocks": blocks,
}


def main() -> int:
    """Make the measurements that were asked for; 1 where one of them does not reach what is wanted."""
    arguments = _arguments()
    data = arguments.data.resolve() if arguments.data is not None else None  # the commands run in another folder
    reached, commit = True, code_commit()
    for name in arguments.measurements or MEASUREMENTS:
        with tempfile.TemporaryDirectory(prefix="medseg-acceptance-") as scratch:
            options = Options(data, Path(scratch), tuple(arguments.minutes), commit, tuple(arguments.set))
            reached &= _measure(name, options, arguments.output)
    return 0 if reached else 1


def _measure(name: str, options: Options, output: Path) -> bool:
    """Make one measurement and write its records; a skipped one counts as reached, and says that it was skipped."""
    reached, started = True, time.monotonic()
    try:
        for measured in MEASUREMENTS[name](options):
            path = _write(measured, options.commit, round(time.monotonic() - started, 1), output=output)
            print(f"{measured.name}: {VERDICTS[measured.reached]}; {path}", flush=True)
            reached, started = reached and measured.reached is not False, time.monotonic()
    except MissingDataError as reason:
        print(f"{name}: skipped, {reason}", flush=True)
    return reached


def _write(measured: Measured, commit: str | None, seconds: float, *, output: Path) -> Path:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = output / f"{today}-{measured.name}.json"
    head = {"commit": commit, "date": today, "seconds": seconds, "machine": _machine()}
    write_json(path, head | asdict(measured))
    return path


def _determinism(options: Options, config: str, settings: list[str]) -> Measured:
    bounds = ["training.max_epochs=3", "training.max_minutes=null", *settings, *options.overrides]
    hashes = {}
    for name, workers in WORKERS.items():
        run = options.scratch / f"{config}-{name.replace(' ', '-')}"
        command = _train(options, config, run, settings=[*bounds, f"training.workers={workers}"])
        hashes[name] = _manifest(run)["weights_sha256"]
    results = {"weights_sha256": hashes}
    return Measured(f"determinism-{config}", command, results, {"distinct": 1}, len(set(hashes.values())) == 1)


def _hippocampus(options: Options, data: Path, minutes: float) -> Measured:
    run = options.scratch / f"minutes-{minutes:g}"
    settings = [f"data.root={data}", f"training.max_minutes={minutes:g}", *options.overrides]
    started = time.monotonic()
    command = _train(options, "hippocampus", run, settings=settings)
    results: dict[str, Any] = {"minutes": minutes, "train_seconds": round(time.monotonic() - started, 1)}
    for name, flags in (("plain", ["--no-tta"]), ("tta", ["--tta"])):
        _medseg(options, "evaluate", str(run / "model"), str(data), "-o", str(run / name), "--split", "test", *flags)
        results[name] = _scores(run / name)
    results["training"] = _manifest(run)["provenance"]
    judged = "tta" if load_config(CONFIGS / "hippocampus.yaml", []).inference.tta else "plain"
    wanted = WANTED_DICE.get(minutes)
    reached = None if wanted is None else (results[judged]["mean_dice"] or 0.0) >= wanted
    return Measured(f"hippocampus-{minutes:g}min", command, results, {f"{judged}.mean_dice": wanted}, reached)


def _block(options: Options, name: str, data: Path, *, variant: str) -> dict[str, Any]:
    """Scores, size and time of one network."""
    part, epochs, features = BLOCK_DATA[name]
    dimensions = load_config(CONFIGS / f"{name}.yaml", []).network.dimensions
    kernels = "[" + ",".join(4 * ["[" + ",".join(dimensions * ["5"]) + "]"]) + "]"
    chosen = [
        f"network.features={features}",
        "network.downsampling=max",
        *(word.format(kernels=kernels) for word in VARIANTS[variant]),
    ]
    bounds = [f"training.max_epochs={epochs}", "training.max_minutes=null", f"training.validate_every={epochs}"]
    settings = [f"data.root={data}", *bounds, *chosen, *options.overrides]
    runs = {each: options.scratch / f"{name}-{each.replace(' ', '-')}" for each in (BASELINE, variant)}
    run = runs[variant]
    _train(options, name, run, settings=settings)
    _medseg(options, "evaluate", str(run / "model"), str(data), "-o", str(run / "evaluation"), "--split", part)
    result = {"settings": chosen, **_scores(run / "evaluation"), **_costs(name, settings, run)}
    if variant != BASELINE:
        result["against the first"] = _difference(options, *runs.values())
    return result


def _costs(name: str, settings: list[str], run: Path) -> dict[str, Any]:
    config, manifest = load_config(CONFIGS / f"{name}.yaml", settings), _manifest(run)
    summary = summarise_unet(
        config.network,
        channels=len(manifest["modalities"]),
        classes=len(manifest["labels"]) + 1,
        patch_size=config.training.patch_size,
        batch_size=config.training.batch_size,
    )
    with (run / "history.csv").open(newline="", encoding="utf-8") as stream:
        seconds = float(list(csv.DictReader(stream))[-1]["seconds"])
    return {
        "parameters": summary.parameters,
        "gflop": round(summary.gflop, 2),
        "receptive_field_voxels": summary.receptive_field_voxels,
        "epochs": config.training.max_epochs,
        "batches an epoch": config.training.iterations_per_epoch or "as many as it takes to draw each case once",
        "seconds": round(seconds, 1),
    }


def _difference(options: Options, baseline: Path, other: Path) -> dict[str, Any]:
    """What `medseg compare` says of the mean Dice of two evaluations."""
    out = other / "comparison"
    _medseg(options, "compare", str(baseline / "evaluation"), str(other / "evaluation"), "-o", str(out))
    (pair,) = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["comparisons"]
    tested = pair["mean_dice"]
    return {"verdict": pair["verdict"], **{key: tested[key] for key in ("mean_difference", "ci95", "p_holm", "n")}}


def _train(options: Options, config: str, run: Path, *, settings: list[str]) -> str:
    cache = f"cache.folder={options.scratch / 'cache'}"
    return _medseg(options, "train", str(CONFIGS / f"{config}.yaml"), *settings, cache, "-o", str(run))


def _medseg(options: Options, command: str, *arguments: str, config: str | None = None) -> str:
    """Run a command in the scratch folder, where its MLflow database then lies as well; returns it as it was typed."""
    chosen = ["--config", str(CONFIGS / f"{config}.yaml")] if config else []
    line = [sys.executable, "-m", "pipeline", command, *arguments, *chosen]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    subprocess.run(line, cwd=options.scratch, env=environment | {"PYTHONPATH": path}, check=True)
    return _as_typed(["medseg", *line[3:]], options)


def _as_typed(words: list[str], options: Options) -> str:
    """The words without the folders of this machine."""
    folders = {f"{ROOT}/": "", str(options.scratch): "SCRATCH"} | ({str(options.data): "DATA"} if options.data else {})
    text = " ".join(words)
    for folder, stand_in in folders.items():
        text = text.replace(folder, stand_in)
    return text


def _manifest(run: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((run / "model" / "model.json").read_text(encoding="utf-8"))
    return manifest


def _scores(folder: Path) -> dict[str, Any]:
    """Means over labels of the reported metrics, and Dice per label with its interval and number of cases."""
    summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    labels = summary["labels"]
    known = [metric for metric in REPORTED if all(metric in metrics for metrics in labels.values())]
    values = {metric: [metrics[metric]["mean"] for metrics in labels.values()] for metric in known}
    means = {metric: None if None in found else sum(found) / len(found) for metric, found in values.items()}
    return {
        "mean_dice": summary["mean_dice"],
        "means": means,
        "cases": summary["cases"],
        "failed": len(summary["failed_cases"]),
        "dice": {name: metrics["dice"] for name, metrics in labels.items()},
    }


def _data(options: Options, name: str) -> Path:
    """Folder of a real data set.

    Raises:
        MissingDataError: it is not there.
    """
    if options.data is None or not (options.data / name).is_dir():
        raise MissingDataError(f"no folder {name} below --data or MEDSEG_TEST_DATA")
    return options.data / name


def _threshold_dice(evaluation: Path) -> float:
    """Mean Dice, over the cases that were evaluated, of two thresholds chosen with the truth known."""
    best = runpy.run_path(str(ROOT / "data_samples" / "thresholds.py"))["best_two_threshold_dice"]
    with (evaluation / "cases.csv").open(newline="", encoding="utf-8") as stream:
        names = sorted({f"{row['case']}.nii.gz" for row in csv.DictReader(stream)})
    scores = [best(_sample("imagesTr", name), _sample("labelsTr", name)) for name in names]
    return round(float(sum(scores) / len(scores)), 4)


def _sample(part: str, name: str) -> NDArray[Any]:
    return np.asarray(Nifti1Image.from_filename(ROOT / "data_samples" / "shapes" / part / name).dataobj)


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "cuda": torch.cuda.is_available(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _arguments() -> argparse.Namespace:
    given = os.environ.get("MEDSEG_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", nargs="*", metavar="NAME", help=f"{', '.join(MEASUREMENTS)}; by default all")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None, help="folder of real data sets")
    parser.add_argument("--minutes", type=float, nargs="+", default=list(WANTED_DICE), help="of the hippocampus")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, for a quick try")
    parser.add_argument("--output", type=Path, default=RECORDS, help="folder for the records")
    arguments = parser.parse_args()
    unknown = set(arguments.measurements) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"no measurement {', '.join(sorted(unknown))}; choose from {', '.join(MEASUREMENTS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
