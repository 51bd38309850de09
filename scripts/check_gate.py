"""What must be true of the scan gate; each check writes a dated JSON file under docs/acceptance/.

detection  how well it tells own scans from those that it is to find, by each score and by all of them together
time       what it and predicted Dice add to the time of `medseg predict`, and of a mask without reading and writing:
           with and without, in turns

The time of a prediction is that of the command: what a user waits for is read, segmented and written. Masks alone, of
scans of a window each and of one that has many, are timed beside it.

Own scans are those of the hippocampus set that the model was not trained or validated on. What is to be found:

foreign  other data sets, as they are
crops    parts of these at the model's spacing, as large as scans of the hippocampus set, and as normalised
damage   own scans with each kind of damage at three strengths, where it lowers Dice by more than 0.05

    python scripts/check_gate.py --data FOLDER [--run RUN_FOLDER] [--every N] [detection] [time]

FOLDER holds the data sets. Without a run of `medseg train configs/hippocampus.yaml`, one is made. With N, only every
N-th of the damaged scans is judged. Scans are judged without test-time mirroring, foreign ones with windows that do not
overlap: a whole head has a thousand windows of a hippocampus.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data import DataConfig
from pipeline.damage.kinds import DAMAGES, damage_with_mask
from pipeline.errors import ScanError
from pipeline.files import write_json
from pipeline.formats import registry
from pipeline.inference.predictor import Predictor
from pipeline.inference.segmentation import GateFinding
from pipeline.layouts.case_files import read_image, read_labels
from pipeline.layouts.dataset import Case
from pipeline.layouts.discover import discover
from pipeline.layouts.split import read_split
from pipeline.manifest import ESTIMATE, GATE, read_manifest, write_manifest
from pipeline.metrics.overlap import Overlap
from pipeline.model import Model, load_model
from pipeline.preprocessing.prepare import prepare
from pipeline.provenance import code_commit
from pipeline.quality.detection import auprc, auroc, false_alarm_rate
from pipeline.scan import Scan

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "acceptance"
STRENGTHS = (0.3, 0.6, 1.0)
LOWERED = 0.05
"""Of the mean Dice over labels, beyond which a damage counts."""
CROPS, TRIES = 6, 60
"""Crops of a foreign scan, and places that are tried for them."""
LEAST_SIDE, EMPTY_SHARE = 16, 0.5
"""Voxels along a crop at least, and the share of it that may be of one value, as air is."""
FOREIGN = {
    "heart MR": ("acdc/images/*.nii.gz", 12),
    "tumour FLAIR": ("brats/*/Flair*.nii.gz", 1),
    "tumour T1c": ("brats/*/T1c*.nii.gz", 1),
    "lesions": ("lesions/*_image.nrrd", 1),
    "CT": ("ct/*ct*.nii.gz", 1),
    "body MR": ("ct/example_mr_sm.nii.gz", 1),
    "other anatomy": ("hostile/nifti_hostile/ood_anatomy/[!f]*.nii.gz", 1),
}
"""Files of each kind, of which every so many-th is taken."""
NO_SCANS = ("labels", "seg")
WANTED = {"foreign": 0.99, "crops": 0.95, "damage": 0.90}
MOST_FALSE_ALARMS = 0.05
TURNS, COMMANDS, MOST_TIME = 7, 15, 0.15
LARGE = (96, 112, 96)
"""Voxels of a scan of several dozen windows."""
Own = tuple[Scan, NDArray]
"""A scan and its mask."""


@dataclass(frozen=True)
class Given:
    """What a check has to work on.

    Attributes:
        run: the run's folder.
        model: that was trained in it.
        data: the folder of the data sets.
        every: of the damaged scans, one is judged.
    """

    run: Path
    model: Model
    data: Path
    every: int

    def unseen(self) -> list[Case]:
        """The cases of the test part."""
        dataset = discover(DataConfig(root=self.data / "hippocampus"))
        names = read_split(self.run / "split.json", dataset.cases).parts["test"]
        return [case for case in dataset.cases if case.name in names]


@dataclass(frozen=True)
class Judged:
    """A scan that was judged: of which kind, what the gate says, and its mean Dice where it is known."""

    kind: str
    found: GateFinding
    dice: float | None = None


def main() -> int:
    """Make the measurements that were asked for; 1 where one of them does not reach what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = os.environ.get("MEDSEG_TEST_DATA")
    parser.add_argument("--data", type=Path, default=usual, required=usual is None, help="folder of the data sets")
    parser.add_argument("--run", type=Path, help="a run's folder; by default a run is made")
    parser.add_argument("--every", type=int, default=1, help="of the damaged scans")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; by default all")
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    with tempfile.TemporaryDirectory(prefix="medseg-gate-") as scratch:
        run = arguments.run or train(data / "hippocampus", Path(scratch))
        given = Given(run, load_model(run / "model"), data, arguments.every)
        reached = [CHECKS[name](given) for name in arguments.checks or CHECKS]
    return 0 if all(reached) else 1


def train(data: Path, folder: Path) -> Path:
    """A run of the shipped configuration."""
    settings = [f"data.root={data}", f"cache.folder={folder / 'cache'}", "-o", str(folder / "run")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    line = [sys.executable, "-m", "pipeline", "train", str(ROOT / "configs" / "hippocampus.yaml"), *settings]
    subprocess.run(line, cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)}, check=True)
    return folder / "run"


def detection(given: Given) -> bool:
    """How well each score, and all together, tell own scans from those to be found."""
    model, own = given.model, [read(case) for case in given.unseen()]
    inference = model.manifest.inference.model_copy(update={"tta": False})
    usual, coarse = (Predictor(model, inference.model_copy(update={"overlap": each})) for each in (0.5, 0.0))
    clean = [judge_with_truth(usual, "own", scan, truth=mask) for scan, mask in own]
    progress(f"own: {len(clean)}")
    groups = {"own": clean, "damage": list(damaged(usual, own, clean, every=given.every))}
    progress(f"damage: {len(groups['damage'])}")
    foreign, crops = list[Judged](), list[Judged]()
    for kind, scan in foreign_scans(given.data):
        crops += [judge(usual, kind, crop) for crop in crops_of(scan, model, [each.shape for each, _ in own])]
        foreign.append(judge(coarse, kind, scan))
        progress(f"foreign: {kind}")
    groups |= {"foreign": foreign, "crops": crops}
    return write_record("gate-detection", model, summary(groups))


def time_added(given: Given) -> bool:
    """What the gate and predicted Dice add to the time of a prediction."""
    predicted = seconds_of_command(given)
    tiny = seconds_of_masks(given.model, [read(case)[0] for case in given.unseen()])
    large = seconds_of_masks(given.model, [next(large_scans(given))])
    share = predicted["share_added"]
    record = {
        "scans": len(given.unseen()),
        "predict": predicted,
        "masks_alone": tiny,
        "large_mask_alone": large,
        "wanted": {f"less than {MOST_TIME:.0%} more of predict": share < MOST_TIME},
        "reached": share < MOST_TIME,
    }
    return write_record("gate-time", given.model, record)


def seconds_of_command(given: Given) -> dict[str, float]:
    """`medseg predict` of all scans in a folder, with and without: `COMMANDS` of each, after one to warm up."""
    with tempfile.TemporaryDirectory(prefix="medseg-gate-time-") as scratch:
        folder = Path(scratch)
        (folder / "scans").mkdir()
        for case in given.unseen():
            (folder / "scans" / case.images[0].name).symlink_to(case.images[0].resolve())
        models = [bare_copy(given.run / "model", folder / "bare"), given.run / "model"]
        turns = []
        for turn in range(1 + COMMANDS):
            ways = [partial(predict, model, folder / "scans", folder / f"masks{turn}-{model.name}") for model in models]
            turns.append(seconds_in_turn(ways, turn))
    return compared(np.array(turns[1:])) | {"turns": np.round(turns[1:], 2).tolist()}


def compared(turns: NDArray[np.float64]) -> dict[str, Any]:
    """Without and with, and the share that is added in a turn, of turns (N, 2): medians, and quartiles of the share."""
    without, with_all = np.median(turns, axis=0).tolist()
    shares = turns[:, 1] / turns[:, 0] - 1
    return {
        "seconds_without": round(without, 2),
        "seconds_with": round(with_all, 2),
        "share_added": round(float(np.median(shares)), 4),
        "share_quartiles": [round(float(each), 4) for each in np.quantile(shares, (0.25, 0.75))],
    }


def seconds_in_turn(ways: Sequence[Callable[[], object]], turn: int) -> list[float]:
    """How long each way takes; every other turn begins with the last of them."""
    order = range(len(ways))[:: 1 if turn % 2 else -1]
    seconds = {place: seconds_of(ways[place]) for place in order}
    return [seconds[place] for place in range(len(ways))]


def bare_copy(model: Path, folder: Path) -> Path:
    """A copy of a model that has neither gate nor predicted Dice."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(GATE, ESTIMATE))
    write_manifest(folder, read_manifest(folder).model_copy(update={"gate_sha256": None, "estimate_sha256": None}))
    bare, whole = load_model(folder), load_model(model)
    assert whole.gate
    assert whole.estimate
    assert not bare.gate
    assert not bare.estimate
    return folder


def predict(model: Path, scans: Path, output: Path) -> None:
    """A user's command line."""
    line = [sys.executable, "-m", "pipeline", "predict", "--no-tta", str(model), str(scans), str(output)]
    subprocess.run(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)


def seconds_of_masks(model: Model, scans: list[Scan]) -> dict[str, Any]:
    """All masks without reading and writing; of each scan the shortest of `TURNS` counts, with and without."""
    predictor = Predictor(model, model.manifest.inference.model_copy(update={"tta": False}))
    seconds = np.zeros(2)
    for scan in scans:
        prepared = prepare(scan, model.manifest.preprocessing)
        ways = [partial(way, prepared) for way in (predictor.predict_prepared, predictor.segment)]
        seconds += np.min([seconds_in_turn(ways, turn) for turn in range(TURNS)], axis=0)
    return compared(seconds[None])


def large_scans(given: Given) -> Iterator[Scan]:
    """The middle of scans of another data set, `LARGE` voxels each."""
    for _, scan in foreign_scans(given.data):
        firsts = [max(0, (n - size) // 2) for n, size in zip(scan.shape, LARGE, strict=True)]
        box = tuple(slice(first, first + size) for first, size in zip(firsts, LARGE, strict=True))
        cut = scan.array[(slice(None), *box)]
        if cut.shape[1:] == LARGE:
            yield Scan(np.ascontiguousarray(cut), np.eye(4), scan.source)


def seconds_of(run: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def summary(groups: dict[str, list[Judged]]) -> dict[str, Any]:
    """AUROC, AUPRC and false alarms at 95 % detection, per kind and per score."""
    own, sought = scores_of(groups["own"]), {name: groups[name] for name in WANTED}
    kinds = {name: sorted({each.kind for each in found}) for name, found in sought.items()}
    tables = {
        name: {
            "all": row(own, found),
            **{kind: row(own, [each for each in found if each.kind == kind]) for kind in kinds[name]},
        }
        for name, found in sought.items()
    }
    combined = {name: table["all"]["combined"]["auroc"] for name, table in tables.items()}
    baseline = {name: table["all"]["histogram"]["auroc"] for name, table in tables.items()}
    alarms = float(np.mean([each.found.is_foreign for each in groups["own"]]))
    wanted = {
        **{f"combined AUROC, {name}, {least} or more": combined[name] >= least for name, least in WANTED.items()},
        **{f"never worse than the histogram, {name}": combined[name] >= baseline[name] for name in WANTED},
        "at most 5 % false alarms": alarms <= MOST_FALSE_ALARMS,
    }
    return {
        "own_scans": len(groups["own"]),
        "own_dice": round(float(np.mean([each.dice for each in groups["own"]])), 4),
        "threshold": groups["own"][0].found.threshold,
        "false_alarms": alarms,
        "found_at_the_threshold": {
            name: round(float(np.mean([each.found.is_foreign for each in found])), 3) for name, found in sought.items()
        },
        "auroc": combined,
        "tables": tables,
        "wanted": wanted,
        "reached": all(wanted.values()),
    }


def row(own: dict[str, NDArray[np.float64]], found: list[Judged]) -> dict[str, Any]:
    """The figures of each score for scans that are to be found."""
    sought = scores_of(found)
    return {"scans": len(found)} | {
        name: {
            "auroc": round(auroc(own[name], values), 4),
            "auprc": round(auprc(own[name], values), 4),
            "false_alarms_at_95_percent": round(false_alarm_rate(own[name], values), 4),
        }
        for name, values in sought.items()
    }


def scores_of(judged: list[Judged]) -> dict[str, NDArray[np.float64]]:
    """Every score of scans, and the combined one."""
    names = judged[0].found.oddness
    each = {name: np.array([one.found.oddness[name] for one in judged]) for name in names}
    return each | {"combined": np.array([one.found.score for one in judged])}


def judge(predictor: Predictor, kind: str, scan: Scan) -> Judged:
    """What the gate says of a scan."""
    found = predictor.segment(prepare(scan, predictor.manifest.preprocessing)).gate
    assert found is not None, "the model has no gate"
    return Judged(kind, found)


def judge_with_truth(predictor: Predictor, kind: str, scan: Scan, *, truth: NDArray) -> Judged:
    """The same, with the mean Dice over labels."""
    made = predictor.segment(prepare(scan, predictor.manifest.preprocessing))
    assert made.gate is not None, "the model has no gate"
    dice = [Overlap.of(made.mask == value, truth == value).dice for value in predictor.manifest.label_values]
    return Judged(kind, made.gate, float(np.mean([each for each in dice if each is not None])))


def read(case: Case) -> Own:
    """The scan and the mask of a case."""
    return read_image(case.images), read_labels(case).array[0]


def damaged(predictor: Predictor, own: list[Own], clean: list[Judged], *, every: int) -> Iterator[Judged]:
    """Damaged scans whose Dice is lower than that of the scan by more than `LOWERED`."""
    plans = [(number, kind, strength) for number in range(len(own)) for kind in DAMAGES for strength in STRENGTHS]
    order = np.random.default_rng(0).permutation(len(plans))  # every third of the plans would be of one strength
    for number, kind, strength in (plans[place] for place in sorted(order[::every].tolist())):
        rng, before = np.random.default_rng(number), clean[number].dice
        whole, truth = own[number]
        scan, mask = damage_with_mask(whole, truth, kind, strength=strength, rng=rng)
        judged = judge_with_truth(predictor, kind, scan, truth=mask)
        if before is not None and judged.dice is not None and before - judged.dice > LOWERED:
            yield judged


def foreign_scans(data: Path) -> Iterator[tuple[str, Scan]]:
    """Scans of one channel that do not belong, with their kind."""
    for kind, (pattern, every) in FOREIGN.items():
        paths = [path for path in sorted(data.glob(pattern)) if not any(name in path.name for name in NO_SCANS)]
        for path in paths[::every]:
            scan = registry.read_scan(path)
            yield kind, Scan(scan.array[:1].astype(np.float32), scan.affine, scan.source)


def crops_of(scan: Scan, model: Model, shapes: list[tuple[int, ...]]) -> Iterator[Scan]:
    """Parts of a scan at the model's spacing, as large as its own scans; mostly empty ones are left out."""
    whole = model.manifest.preprocessing.model_copy(update={"crop": "none"})
    try:
        volume = prepare(scan, whole).image[0]
    except ScanError:  # it cannot be brought to the model's spacing, which prediction says too
        return
    rng, found = np.random.default_rng(0), 0
    for _ in range(TRIES):
        size = [min(n, wanted) for n, wanted in zip(volume.shape, shapes[rng.integers(len(shapes))], strict=True)]
        corner = [int(rng.integers(n - side + 1)) for n, side in zip(volume.shape, size, strict=True)]
        crop = volume[tuple(slice(first, first + side) for first, side in zip(corner, size, strict=True))]
        values, counts = np.unique(crop.round(2), return_counts=True)
        if found < CROPS and min(size) >= LEAST_SIDE and counts.max() < EMPTY_SHARE * crop.size and len(values) > 1:
            found += 1
            yield Scan(np.ascontiguousarray(crop[None]), np.eye(4), scan.source)


def progress(text: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def write_record(name: str, model: Model, found: dict[str, Any]) -> bool:
    """Write a dated record with the commits of the code and of the model; whether it reaches what is wanted."""
    today, trained = datetime.datetime.now(datetime.UTC).date().isoformat(), model.manifest.provenance
    model_of = {"commit": trained.commit, "seconds": trained.seconds}
    head = {"date": today, "commit": code_commit(), "processors": os.cpu_count(), "model": model_of}
    write_json(RECORDS / f"{today}-{name}.json", head | found)
    shown = {key: value for key, value in found.items() if key != "tables"}
    print(json.dumps(shown, indent=2))
    return bool(found["reached"])


CHECKS: dict[str, Callable[[Given], bool]] = {"detection": detection, "time": time_added}


if __name__ == "__main__":
    sys.exit(main())
