"""How fast it is, beside nnU-Net on the same machine; each check writes a dated JSON file under docs/benchmarks/.

folder    `medseg predict` and `nnUNetv2_predict` of a folder of 50 scans of the hippocampus set, start-up included: the
          same network with the same weights, each with its own preprocessing, windows and files; with and without
          mirroring, which is of one axis here and of all three there. Ours also judges every scan and mask, and draws
          pictures. Dice of both, and of ours in PyTorch with 32 bits
training  patches a second of `medseg train` and of nnU-Net's trainer on the hippocampus set, with the network, the
          patch and the batch that nnU-Net plans, batches being made by each one's own workers

    python scripts/benchmark.py --data FOLDER [--nnunet FOLDER] [--run RUN] [--runs FOLDER] [--turns N] [CHECK ...]

What is compared runs in turns, every other one in reverse, and medians count. FOLDER of the data holds the data sets.
nnU-Net is installed in a virtual environment of its own, where there is none yet, and is given the network and the
weights of a run of configs/hippocampus.yaml, which is made where none is given.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from peers.nnunet import CONFIGURATION, NnUnet

from pipeline.config.data import DataConfig
from pipeline.files import write_json
from pipeline.formats.registry import read_mask
from pipeline.layouts.dataset import Case
from pipeline.layouts.discover import discover
from pipeline.layouts.split import read_split
from pipeline.metrics.overlap import Overlap
from pipeline.model import load_model
from pipeline.provenance import code_commit

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "benchmarks"
SCANS, MINUTES = 50, 15
LABELS = (1, 2)
EXACT = ("inference.backend=torch", "inference.precision=fp32")
OUR_MASK, THEIR_MASK = "{case}/mask.nii.gz", "{case}.nii.gz"
SAME_NETWORK = ("network.features=[32,64,128,256]", "network.encoder_convolutions=[2,2,2,2]")
"""What makes configs/hippocampus.yaml train the network that nnU-Net plans for the set, for `training`."""
PATCH, STEPS = [40, 56, 40], 10
FASTER, FASTER_THAN_DEFAULT, LOSS = 5.0, 20.0, 0.001
FASTER_TRAINING = 1.8


@dataclass(frozen=True)
class Given:
    """What all checks start from.

    Attributes:
        data: folder of the data sets.
        runs: folder of what is kept between measurements.
        turns: of each way that is timed.
        peer: nnU-Net.
        given_run: of configs/hippocampus.yaml, or None.
    """

    data: Path
    runs: Path
    turns: int
    peer: NnUnet
    given_run: Path | None

    @cached_property
    def run(self) -> Path:
        """The run that was given, or one that is made here."""
        run = self.given_run or self.runs / "hippocampus"
        if not (run / "model" / "estimate.safetensors").exists():
            settings = [f"data.root={self.data / 'hippocampus'}", f"training.max_minutes={MINUTES}"]
            medseg("train", str(ROOT / "configs" / "hippocampus.yaml"), *settings, "-o", str(run), folder=self.runs)
        return run

    @cached_property
    def cases(self) -> list[Case]:
        """`SCANS` cases, those that the run did not see first."""
        dataset = discover(DataConfig(root=self.data / "hippocampus"))
        by_name, split = {case.name: case for case in dataset.cases}, read_split(self.run / "split.json", dataset.cases)
        return [by_name[name] for name in (*split.test, *split.validation, *split.train)[:SCANS]]

    @cached_property
    def unseen(self) -> list[Case]:
        """Those of them that it did not see."""
        dataset = discover(DataConfig(root=self.data / "hippocampus"))
        names = set(read_split(self.run / "split.json", dataset.cases).test)
        return [case for case in self.cases if case.name in names]


def main() -> int:
    """Make the measurements; 1 where one does not reach what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("MEDSEG_TEST_DATA")
    parser.add_argument("checks", nargs="*", help=f"by default all of {', '.join(CHECKS)}")
    parser.add_argument("--data", type=Path, default=given, required=given is None, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmark", help="where runs are kept")
    parser.add_argument("--run", type=Path, help="a finished run of configs/hippocampus.yaml; by default one is made")
    parser.add_argument("--nnunet", type=Path, help="virtual environment of nnU-Net, by default among the runs")
    parser.add_argument("--turns", type=int, default=5, help="of each way that is timed")
    arguments = parser.parse_args()
    unknown = set(arguments.checks) - set(CHECKS)
    if unknown:
        parser.error(f"expected checks of {', '.join(CHECKS)}; found {', '.join(sorted(unknown))}")
    runs = arguments.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    peer = NnUnet.installed((arguments.nnunet or runs / "nnunet-environment").resolve(), runs / "nnunet")
    run = None if arguments.run is None else arguments.run.resolve()
    start = Given(arguments.data.resolve(), runs, arguments.turns, peer, run)
    reached = [write_record(name, CHECKS[name](start)) for name in arguments.checks or CHECKS]
    return 0 if all(reached) else 1


@dataclass(frozen=True)
class Way:
    """How a folder of scans is segmented.

    Attributes:
        command: is given where to write.
        mask: what a mask is called there, by its case.
    """

    command: Callable[[Path], None]
    mask: str


def folder(given: Given) -> dict[str, Any]:
    """A folder of scans, as a user has it segmented.

    The Dice of nnU-Net's default is none of the network's: it was not trained to be mirrored along all axes.
    """
    path, work = given.run / "model", given.runs / "folder"
    model = load_model(path)
    given.peer.take(model, given.peer.plan(given.data / "hippocampus"))
    shutil.rmtree(work, ignore_errors=True)
    own, theirs = linked(given.cases, work / "scans", ""), linked(given.cases, work / "channels", "_0000")
    ours, nnunet = partial(predict, path, own), partial(given.peer.predict, theirs)
    ways = {
        "ours": Way(partial(ours, options=["--no-tta"]), OUR_MASK),
        "nnunet": Way(partial(nnunet, options=["--disable_tta"]), THEIR_MASK),
        "ours_mirrored": Way(partial(ours, options=["--tta"]), OUR_MASK),
        "nnunet_default": Way(nnunet, THEIR_MASK),
    }
    exact = Way(partial(ours, options=["--no-tta", *EXACT]), OUR_MASK)
    seconds_of(exact, work / "exact")
    turns = [in_turn(ways, work, turn) for turn in range(given.turns)]
    seconds = {name: spread([turn[name] for turn in turns]) for name in ways}
    judged = {name: way for name, way in (ways | {"exact": exact}).items() if name != "nnunet_default"}
    dice = {name: mean_dice(given.unseen, work / name / way.mask) for name, way in judged.items()}
    faster = {name: seconds[name]["median"] / seconds["ours"]["median"] for name in ("nnunet", "nnunet_default")}
    return {
        "scans": len(given.cases),
        "unseen": len(given.unseen),
        "features": model.manifest.network.features,
        "seconds": seconds,
        "times_as_fast": {name: round(times, 2) for name, times in faster.items()},
        "dice": dice,
        "wanted": {
            f"{FASTER:.0f} times as fast as --disable_tta": faster["nnunet"] >= FASTER,
            f"{FASTER_THAN_DEFAULT:.0f} times as fast as its default": faster["nnunet_default"] >= FASTER_THAN_DEFAULT,
            f"Dice at most {LOSS} below that of 32 bits in PyTorch": dice["ours"] >= dice["exact"] - LOSS,
        },
    }


def training(given: Given) -> dict[str, Any]:
    """Steps of a training that has begun; what either needs to begin with is not counted."""
    plans = given.peer.plan(given.data / "hippocampus")
    planned = plans["configurations"][CONFIGURATION]
    assert planned["patch_size"] == PATCH, planned["patch_size"]
    ways = {"ours": partial(our_patches, given, planned["batch_size"]), "nnunet": partial(their_patches, given)}
    turns = [{name: ways[name]() for name in list(ways)[:: -1 if turn % 2 else 1]} for turn in range(given.turns)]
    a_second = {name: spread([turn[name] for turn in turns]) for name in ways}
    faster = a_second["ours"]["median"] / a_second["nnunet"]["median"]
    return {
        "same_network": SAME_NETWORK,
        "patch": PATCH,
        "batch": planned["batch_size"],
        "steps": STEPS,
        "patches_a_second": a_second,
        "times_as_fast": round(faster, 2),
        "wanted": {f"{FASTER_TRAINING} times as many patches a second": faster >= FASTER_TRAINING},
    }


def our_patches(given: Given, batch: int) -> float:
    """Patches a second of the second of three epochs: the first warms up, and the last ends with a validation."""
    run = given.runs / "training"
    shutil.rmtree(run, ignore_errors=True)
    settings = [
        f"data.root={given.data / 'hippocampus'}",
        f"cache.folder={given.runs / 'cache'}",
        f"training.patch_size={PATCH}",
        f"training.batch_size={batch}",
        f"training.iterations_per_epoch={STEPS}",
        "training.max_epochs=3",
        "training.max_minutes=null",
        "network.deep_supervision=2",  # all but the coarsest stage of the decoder, as there
        "gate.enabled=false",
        "estimate.enabled=false",
        *SAME_NETWORK,
    ]
    medseg("train", str(ROOT / "configs" / "hippocampus.yaml"), *settings, "-o", str(run), folder=given.runs)
    with (run / "history.csv").open(newline="") as lines:
        first, second, _ = (float(row["seconds"]) for row in csv.DictReader(lines))
    progress(f"ours: {STEPS * batch / (second - first):.2f} patches a second")
    return STEPS * batch / (second - first)


def their_patches(given: Given) -> float:
    """The same of nnU-Net's trainer."""
    found = given.peer.time_training(STEPS)
    progress(f"nnU-Net: {found['patches'] / found['seconds']:.2f} patches a second")
    return found["patches"] / found["seconds"]


def linked(cases: Sequence[Case], folder: Path, ending: str) -> Path:
    """A folder of the cases' scans alone, under names that end so."""
    folder.mkdir(parents=True)
    for case in cases:
        (folder / f"{case.name}{ending}.nii.gz").symlink_to(case.images[0].resolve())
    return folder


def in_turn(ways: dict[str, Way], work: Path, turn: int) -> dict[str, float]:
    """Seconds of each way; every other turn begins with the last of them."""
    return {name: seconds_of(ways[name], work / name) for name in list(ways)[:: -1 if turn % 2 else 1]}


def seconds_of(way: Way, output: Path) -> float:
    """How long a way takes."""
    shutil.rmtree(output, ignore_errors=True)
    started = time.perf_counter()
    way.command(output)
    seconds = time.perf_counter() - started
    progress(f"{output.name}: {seconds:.1f} s")
    return seconds


def spread(found: Sequence[float]) -> dict[str, Any]:
    """Their median, and all of them."""
    return {"median": round(float(np.median(found)), 2), "turns": [round(each, 2) for each in found]}


def predict(model: Path, scans: Path, output: Path, *, options: Sequence[str]) -> None:
    """Our command, which a user would start."""
    medseg("predict", str(model), str(scans), str(output), *options, folder=output.parent)


def medseg(*arguments: str, folder: Path) -> None:
    """A command line of ours."""
    line = [sys.executable, "-m", "pipeline", *arguments]
    here = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    subprocess.run(line, cwd=folder, env=here | {"PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)


def mean_dice(cases: Sequence[Case], mask: Path) -> float:
    """The mean over labels and cases of masks whose path names the case as {case}; without a label in neither."""
    found = [dice for case in cases for dice in dice_of(case, Path(str(mask).format(case=case.name)))]
    return round(float(np.mean([dice for dice in found if dice is not None])), 5)


def dice_of(case: Case, mask: Path) -> list[float | None]:
    """Of each label of a mask."""
    assert case.mask is not None
    ours, truth = (read_mask(path).array for path in (mask, case.mask))
    return [Overlap.of(ours == label, truth == label).dice for label in LABELS]


def machine() -> dict[str, Any]:
    """What the figures are of."""
    with Path("/proc/cpuinfo").open() as lines:
        described = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(described.get("flags", "").split())
    return {
        "processor": described.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "instructions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags],
    }


def progress(text: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def write_record(name: str, found: dict[str, Any]) -> bool:
    """Keep what a check found; whether it is what is wanted."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    reached = all(found["wanted"].values())
    record = {"date": today, "commit": code_commit(), "machine": machine()} | found | {"reached": reached}
    write_json(RECORDS / f"{today}-{name}.json", record)
    print(json.dumps(record, indent=2))
    return reached


CHECKS: dict[str, Callable[[Given], dict[str, Any]]] = {"folder": folder, "training": training}


if __name__ == "__main__":
    sys.exit(main())
