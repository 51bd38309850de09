"""What must be true of runs whatever ends them; each check writes a dated JSON file under docs/acceptance/.

resume     four epochs of the hippocampus, killed ten times with -9 and in each epoch, against the undisturbed run
parallel   eight runs started at once on a new SQLite file, one with a broken configuration, one interrupted, one ended
server     a tracking server that is stopped in the middle of a run and started again
serving    masks of every hippocampus scan through mlflow.pyfunc, in a process of its own, against those of predict
compare    what `compare` says of a longer training, of another seed, and of the same model evaluated twice

    python scripts/check_runs.py [--data FOLDER] [resume] [parallel] [server] [serving] [compare]
"""

import argparse
import csv
import datetime
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.config.load import load_config
from pipeline.files import write_json
from pipeline.manifest import read_manifest
from pipeline.provenance import code_commit

ROOT = Path(__file__).resolve().parent.parent
CONFIGS, RECORDS = ROOT / "configs", ROOT / "docs" / "acceptance"
EPOCHS = 4
KILLS = (
    (0, False),
    (0, True),
    (0, False),
    (1, False),
    (1, True),
    (1, False),
    (2, True),
    (2, False),
    (3, False),
    (3, False),
)
"""After how many epochs each kill comes at the earliest, and whether it waits for a checkpoint to be half written."""
SHORT = ["training.max_minutes=null", "training.validate_every=1"]
QUICK = [
    *SHORT,
    "training.max_epochs=3",
    "training.iterations_per_epoch=4",
    "training.threads=1",
    "training.precision=fp32",
]

LONG = ["training.max_epochs=8"]
SERVE = """
import json, sys
from pathlib import Path
import mlflow, numpy, SimpleITK
model, scans, masks = mlflow.pyfunc.load_model(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
equal, different, labels = 0, [], set()
for scan in sorted(scans.glob("[!.]*.nii.gz")):
    (mask,) = model.predict([{"path": str(scan)}])["mask"]
    written = SimpleITK.ReadImage(str(masks / scan.name.removesuffix(".nii.gz") / "mask.nii.gz"))
    if mask is not None and numpy.array_equal(mask, SimpleITK.GetArrayFromImage(written).T):
        equal += 1
        labels |= set(numpy.unique(mask).tolist())
    else:
        different.append(scan.name)
training = ("pipeline.training", "pipeline.samples", "pipeline.augmentation", "pipeline.commands", "monai")
print(json.dumps({
    "equal": equal,
    "different": different,
    "labels": sorted(labels),
    "training_code": [name for name in sys.modules if name.startswith(training)],
}))
"""
"""Compares the masks of a model of MLflow with those that predict wrote."""


def medseg(folder: Path, *arguments: str, uri: str | None = None) -> subprocess.Popen[str]:
    """Start a command in a folder, with its own cache and, unless told otherwise, its own mlflow.db."""
    environment = os.environ | {"MEDSEG_CACHE": str(folder / "cache")}
    environment |= {"MLFLOW_TRACKING_URI": uri} if uri is not None else {}
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a command printed.

    Raises:
        RuntimeError: it failed.
    """
    printed, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(printed)
    return printed


def runs_of(uri: str) -> list[Run]:
    """All runs of a store."""
    client = MlflowClient(uri)
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def curve(uri: str, run_id: str, metric: str = "loss") -> list[int]:
    """The steps at which a metric was recorded, in order of time."""
    history = MlflowClient(uri).get_metric_history(run_id, metric)
    return [each.step for each in sorted(history, key=lambda each: (each.timestamp, each.step))]


def check_resume(folder: Path, data: Path | None) -> dict[str, Any]:
    """Kill a run ten times, and compare it with one that nobody touched."""
    settings = [*hippocampus(data), f"training.max_epochs={EPOCHS}"]
    print("undisturbed", flush=True)
    finish(medseg(folder, "train", *settings, "-o", "whole"))
    epoch_seconds = shortest_epoch(rows(folder / "whole"))
    chosen = load_config(folder / "whole" / "config.yaml", []).training
    settings.append(f"training.precision={chosen.precision}")  # by timing, which the kills must not change
    uri = f"sqlite:///{folder}/killed.db"
    moments = kill_and_resume(folder, settings, uri, epoch_seconds=epoch_seconds)
    hashes = [read_manifest(folder / name / "model").weights_sha256 for name in ("whole", "killed")]
    found = runs_of(uri)
    run_id = run_id_of(folder / "killed")
    return {
        "weights_sha256": dict(zip(("undisturbed", "killed"), hashes, strict=True)),
        "kills": moments,
        "mlflow_runs": [each.info.status for each in found],
        "steps_of_the_loss": curve(uri, run_id),
        "steps_of_the_dice": curve(uri, run_id, "dice"),
        "seconds_rise": rising(uri, run_id),
        "reached": hashes[0] == hashes[1]
        and all(each["code"] == -signal.SIGKILL for each in moments)
        and any(each["in_checkpoint"] and each["epochs_written"] for each in moments)
        and {each["epochs_written"] for each in moments} == set(range(EPOCHS))
        and [each.info.status for each in found] == ["FINISHED"]
        and curve(uri, run_id) == curve(uri, run_id, "dice") == list(range(1, EPOCHS + 1)),
    }


def hippocampus(data: Path | None) -> list[str]:
    """The configuration of the hippocampus, bounded by epochs, and where its data are."""
    assert data is not None
    return [str(CONFIGS / "hippocampus.yaml"), *SHORT, f"data.root={data / 'hippocampus'}"]


def run_id_of(folder: Path) -> str:
    """MLflow's id of the run in a folder."""
    return str(json.loads((folder / "run.json").read_text())["run_id"])


def kill_and_resume(folder: Path, settings: list[str], uri: str, *, epoch_seconds: float) -> list[dict[str, Any]]:
    """Train in the folder ``killed`` to the end, over all of KILLS; returns what `kill` says of each."""
    killed, kills, chance = folder / "killed", list[dict[str, Any]](), random.Random(0)
    process = medseg(folder, "train", *settings, "-o", "killed", uri=uri)
    for epochs, in_checkpoint in KILLS:
        started = time.monotonic()
        wait_until(process, lambda: len(rows(killed)) >= epochs)  # noqa: B023 - called at once
        moment = time.monotonic() + chance.uniform(0.0, 0.5 * epoch_seconds)  # or the last would come after the end
        kills.append(kill(process, killed, None if in_checkpoint else moment, started=started))
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
        begun = (killed / "run.json").exists()
        process = medseg(folder, "train", *(["--resume", "killed"] if begun else [*settings, "-o", "killed"]), uri=uri)
    finish(process)
    return kills


def shortest_epoch(history: list[dict[str, str]]) -> float:
    """Seconds of the shortest epoch but the first, whose time holds the preparation of the data."""
    seconds = [float(row["seconds"]) for row in history]
    return min(after - before for before, after in pairwise(seconds))


def wait_until(process: subprocess.Popen[str], holds: Callable[[], bool], every: float = 0.05) -> None:
    """Wait until something holds, or the process has ended."""
    while process.poll() is None and not holds():
        time.sleep(every)


def kill(process: subprocess.Popen[str], folder: Path, moment: float | None, *, started: float) -> dict[str, Any]:
    """Send SIGKILL at a moment, or while a checkpoint is being written; says when, and what was done by then."""
    left = set(folder.glob(".partial-*.ckpt"))

    def partial() -> bool:
        return any(path not in left for path in folder.glob(".partial-*.ckpt"))

    if moment is None:
        wait_until(process, partial, every=0.001)
    else:
        wait_until(process, lambda: time.monotonic() >= moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return {
        "after_seconds": round(time.monotonic() - started, 2),
        "in_checkpoint": partial(),
        "epochs_written": len(rows(folder)),
        "code": process.returncode,
    }


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of history.csv so far."""
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def rising(uri: str, run_id: str) -> bool:
    """Whether the time trained rises from epoch to epoch."""
    history = sorted(MlflowClient(uri).get_metric_history(run_id, "seconds"), key=lambda each: each.step)
    values = [each.value for each in history]
    return values == sorted(values)


def check_parallel(folder: Path, _data: Path | None) -> dict[str, Any]:
    """Start runs at once on a file that does not exist yet."""
    uri = f"sqlite:///{folder}/fresh.db"
    demo = str(CONFIGS / "demo.yaml")
    (folder / "broken.yaml").write_text("name: broken\ntraining: {max_epoch: 3}\n")
    started = [
        medseg(folder, "train", demo, *QUICK, f"training.seed={seed}", f"name=seed{seed}", uri=uri) for seed in range(8)
    ]
    broken = medseg(folder, "train", "broken.yaml", uri=uri)
    for process in started:
        finish(process)
    broken.communicate()
    endings = {"ctrl-c": signal.SIGINT, "sigterm": signal.SIGTERM}
    ended = {name: end_in_second_epoch(folder, name, number, uri=uri) for name, number in endings.items()}
    found = {str(each.info.run_name): each for each in runs_of(uri)}
    curves = {name: curve(uri, found[name].info.run_id) for name in (f"seed{seed}" for seed in range(8))}
    losses = {name: found[name].data.metrics["loss"] for name in curves}
    statuses = {name: each.info.status for name, each in sorted(found.items())}
    expected = dict.fromkeys(curves, "FINISHED") | {"broken": "FAILED", "ctrl-c": "KILLED", "sigterm": "KILLED"}
    return {
        "statuses": statuses,
        "steps": curves,
        "last_losses": losses,
        "broken_says": found["broken"].data.tags["mlflow.note.content"],
        "codes": ended | {"broken": broken.returncode},
        "reached": statuses == expected
        and all(steps == [1, 2, 3] for steps in curves.values())
        and len(set(losses.values())) == 8,
    }


def end_in_second_epoch(folder: Path, name: str, number: signal.Signals, *, uri: str) -> int:
    """Send a signal to a long run once it has written two epochs; returns its exit code."""
    long = [argument.replace("max_epochs=3", "max_epochs=999") for argument in QUICK]
    process = medseg(folder, "train", str(CONFIGS / "demo.yaml"), *long, f"name={name}", "-o", name, uri=uri)
    wait_for_epochs(folder / name, 2, process)
    process.send_signal(number)
    process.communicate()
    return process.returncode


def check_server(folder: Path, _data: Path | None) -> dict[str, Any]:
    """Stop a server in the middle of a run, train on, start it again."""
    port = free_port()
    uri, epochs = f"http://127.0.0.1:{port}", 40
    steps_quick = [argument.replace("max_epochs=3", f"max_epochs={epochs}") for argument in QUICK]
    with server(folder, port):
        process = medseg(folder, "train", str(CONFIGS / "demo.yaml"), *steps_quick, "-o", "run", uri=uri)
        wait_for_epochs(folder / "run", 5, process)
        before = len(curve(uri, run_id_of(folder / "run")))
    wait_for_epochs(folder / "run", 20, process)
    while_away = len(rows(folder / "run"))
    with server(folder, port):
        printed = finish(process)
        run_id = run_id_of(folder / "run")
        names = ("loss", "learning_rate", "dice", "dice_anterior", "dice_posterior", "seconds")
        curves = {name: curve(uri, run_id, name) for name in names}
        status = MlflowClient(uri).get_run(run_id).info.status
        files = sorted(item.path for item in MlflowClient(uri).list_artifacts(run_id))
    return {
        "epochs_when_stopped": before,
        "epochs_when_started_again": while_away,
        "status": status,
        "points_a_metric": {name: len(steps) for name, steps in curves.items()},
        "artifacts": files,
        "printed": [line for line in printed.splitlines() if "MLflow" in line],
        "reached": status == "FINISHED" and all(steps == list(range(1, epochs + 1)) for steps in curves.values()),
    }


def check_serving(folder: Path, data: Path | None) -> dict[str, Any]:
    """Load one model by its run and by its alias, without any code of the training, and compare every voxel."""
    assert data is not None
    uri, scans = f"sqlite:///{folder}/serving.db", data / "hippocampus" / "imagesTr"
    registered = ("tracking.register_as=hippocampus", "tracking.alias=best")
    settings = [*hippocampus(data), "training.max_epochs=2", *registered]
    finish(medseg(folder, "train", *settings, "-o", "run", uri=uri))
    finish(medseg(folder, "predict", str(folder / "run" / "model"), str(scans), "masks"))
    run_id = run_id_of(folder / "run")
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": uri}
    found = {}
    for model in (f"runs:/{run_id}/model", "models:/hippocampus@best"):
        command = [sys.executable, "-c", SERVE, model, str(scans), str(folder / "masks")]
        done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, check=True)
        found[model.replace(run_id, "ID")] = json.loads(done.stdout.splitlines()[-1])
    scan_count = len(list(scans.glob("[!.]*.nii.gz")))
    return {
        "scans": scan_count,
        "models": found,
        "reached": all(
            each == {"equal": scan_count, "different": [], "training_code": [], "labels": each["labels"]}
            and len(each["labels"]) > 1
            for each in found.values()
        ),
    }


def check_compare(folder: Path, data: Path | None) -> dict[str, Any]:
    """Train longer and with another seed, evaluate one model twice, and compare."""
    assert data is not None
    trainings = {"short": ["training.max_epochs=2"], "long": LONG, "other_seed": [*LONG, "training.seed=1"]}
    for name, settings in trainings.items():
        finish(medseg(folder, "train", *hippocampus(data), *settings, "-o", name))
        print(f"trained {name}", flush=True)
    for model, out in (*((name, f"{name}/evaluation") for name in trainings), ("long", "again")):
        finish(medseg(folder, "evaluate", f"{model}/model", str(data / "hippocampus"), "-o", out))
    questions = {"longer": ("short", "long"), "other_seed": ("long", "other_seed"), "again": ("long", "again")}
    said = {}
    for name, runs in questions.items():
        finish(medseg(folder, "compare", *runs, "-o", f"comparison_{name}"))
        (said[name],) = json.loads((folder / f"comparison_{name}" / "comparison.json").read_text())["comparisons"]
    return {
        "sentences": {name: each["sentences"] for name, each in said.items()},
        "mean_dice": {name: each["mean_dice"] for name, each in said.items()},
        "reached": [each["verdict"] for each in said.values()] == ["better", "undecided", "identical"],
    }


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """A tracking server while the block runs, on the same files each time."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_epochs(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many epochs are written down.

    Raises:
        RuntimeError: the process ended before.
    """
    while len(rows(folder)) < count:
        if process.poll() is not None:
            raise RuntimeError(process.communicate()[0])
        time.sleep(0.1)


CHECKS: dict[str, Callable[[Path, Path | None], dict[str, Any]]] = {
    "resume": check_resume,
    "parallel": check_parallel,
    "server": check_server,
    "serving": check_serving,
    "compare": check_compare,
}
NEEDS_DATA = ("resume", "serving", "compare")


def main() -> int:
    """Make the checks that were asked for; 1 where one of them does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help=", ".join(CHECKS))
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MEDSEG_TEST_DATA"), help="folder of real data sets"
    )
    parser.add_argument("--output", type=Path, default=RECORDS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so would the runs
    held, commit = True, code_commit()
    data = Path(arguments.data).resolve() if arguments.data is not None else None
    for name in arguments.checks or CHECKS:
        if name in NEEDS_DATA and (data is None or not (data / "hippocampus").is_dir()):
            print(f"{name}: skipped, no folder hippocampus below --data or MEDSEG_TEST_DATA", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="medseg-check-") as folder:
            results = CHECKS[name](Path(folder), data)
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        path = arguments.output / f"{day}-runs-{name}.json"
        write_json(path, {"date": day, "commit": commit, "check": name, "results": results})
        print(f"{name}: {'holds' if results['reached'] else 'does NOT hold'}; {path}", flush=True)
        held &= results["reached"]
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
