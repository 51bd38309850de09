"""``medseg train``: from a configuration to a tracked run and a model."""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from pipeline import __version__
from pipeline.commands import run_folder
from pipeline.commands.dataset import CheckedDataset, check_for_training
from pipeline.commands.preparation import PreparedDataset, prepare_dataset
from pipeline.commands.progress import ProgressLine, progress_line
from pipeline.commands.run_folder import RunFolder
from pipeline.config.load import Config
from pipeline.files import write_csv
from pipeline.inference.precision import Compute, choose_device, choose_precision
from pipeline.layouts.split import write_split
from pipeline.losses import SegmentationLoss
from pipeline.manifest import Manifest, Provenance
from pipeline.model import initial_weights, save_model
from pipeline.networks.unet import UNet
from pipeline.provenance import code_commit
from pipeline.samples.patches import BatchPlan, PatchDataset, batches_per_epoch, make_loader
from pipeline.tracking import TrackedRun, track
from pipeline.training.loop import EpochResult, Task, fit
from pipeline.training.schedule import Clock
from pipeline.training.state import (
    TrainingState,
    average_weights,
    load_checkpoint,
    new_network,
    new_state,
    save_checkpoint,
)
from pipeline.training.validation import SlidingWindow, mean_dice

HISTORY = ["epoch", "loss", "learning_rate", "dice", "seconds"]


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves.

    Attributes:
        run_id: the MLflow run.
        folder: the run's folder.
        model: the model's folder.
        validation_dice: mean Dice of the exported weights, None without validation cases.
    """

    run_id: str
    folder: Path
    model: Path
    validation_dice: float | None


def train(config: Config, output: Path | None, console: Console) -> TrainedRun:
    """Train a network as configured.

    Args:
        config: the experiment.
        output: the run's folder; by default runs/<config name>/<MLflow run id>.
        console: where progress is shown.

    Raises:
        ConfigError, DatasetError, ModelError: see their messages; the run is then FAILED in MLflow.
    """
    clock = Clock.start(0.0)
    with track(config.tracking, config.name) as run:
        folder = RunFolder(output or Path("runs") / config.name / run.run_id)
        resolved = resolve(config)
        run_folder.begin(folder, resolved, run.run_id)
        run.log_settings(resolved.model_dump(mode="json"))
        return _train(resolved, folder, run, clock, console)


def resume(root: Path, console: Console) -> TrainedRun:
    """Go on with a run from its last checkpoint, or from the start where it has none.

    Raises:
        ModelError: the folder holds no run, or its checkpoint cannot be read.
    """
    clock = Clock.start(0.0)
    folder = RunFolder(root)
    config, run_id = run_folder.reopen(folder)
    with track(config.tracking, config.name, run_id) as run:
        return _train(config, folder, run, clock, console)


def resolve(config: Config) -> Config:
    """Fill in what depends on the machine, so that a resumed run uses the same: threads, device and precision."""
    device = choose_device(config.training.device)
    threads = config.training.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    precision = choose_precision(config.training.precision, device, lambda compute: _try_step(config, compute))
    chosen = {"threads": threads, "precision": precision, "device": device.type}
    return config.model_copy(update={"training": config.training.model_copy(update=chosen)})


def _train(config: Config, folder: RunFolder, run: TrackedRun, clock: Clock, console: Console) -> TrainedRun:
    assert config.training.threads is not None
    torch.set_num_threads(config.training.threads)
    compute = Compute(torch.device(config.training.device), config.training.precision)
    with progress_line(console, "reading") as progress:
        checked = check_for_training(config, folder, progress)
        _record_data(checked, folder, run, console)
        prepared = prepare_dataset(checked, config, progress)
    state = _start(config, checked, folder, compute)
    clock.before = state.seconds
    with progress_line(console, "training") as progress:
        for result in fit(state, _task(prepared, checked, config, state), config.training, compute, clock):
            _record_epoch(result, state, checked, folder, run, progress)
    return _finish(config, checked, prepared, state, folder, run)


def _record_data(checked: CheckedDataset, folder: RunFolder, run: TrackedRun, console: Console) -> None:
    write_split(folder.split, checked.split, checked.split_config)
    for path in (folder.split, folder.checks, folder.config):
        run.log_file(path)
    run.set_tags({"commit": code_commit() or "unknown", "dataset": checked.dataset.name})
    parts = checked.split
    console.print(
        f"{checked.dataset.name}: {len(parts.train)} cases to train on, {len(parts.validation)} to validate, "
        f"{len(parts.test)} kept for testing; {len(checked.findings)} warnings in {folder.checks}",
        highlight=False,
    )


def _start(config: Config, checked: CheckedDataset, folder: RunFolder, compute: Compute) -> TrainingState:
    network = _network(config, channels=len(checked.dataset.modalities), classes=1 + len(checked.dataset.labels))
    if config.network.init_from is not None:
        initial_weights(config.network.init_from, network)
    state = new_state(network, config.network.dimensions, config.training, compute)
    if folder.last.exists():
        load_checkpoint(folder.last, state)
    return state


def _network(config: Config, *, channels: int, classes: int) -> UNet:
    return new_network(config.network, channels=channels, classes=classes, seed=config.training.seed)


def _task(prepared: PreparedDataset, checked: CheckedDataset, config: Config, state: TrainingState) -> Task:
    plan = BatchPlan(len(prepared.train), config.training, state.epoch)
    patches = PatchDataset(prepared.train, config.training, config.augmentation)
    loader = make_loader(patches, plan, config.training.workers, pin_memory=config.training.device == "cuda")
    return Task(
        batches=iter(loader),
        batches_per_epoch=batches_per_epoch(len(prepared.train), config.training),
        validation=prepared.validation,
        window=SlidingWindow(config.training.patch_size, config.inference.overlap),
        classes=1 + len(checked.dataset.labels),
    )


def _record_epoch(
    result: EpochResult,
    state: TrainingState,
    checked: CheckedDataset,
    folder: RunFolder,
    run: TrackedRun,
    progress: ProgressLine,
) -> None:
    if result.is_best:  # before the last, which says that this was the best
        save_checkpoint(folder.best, state)
    save_checkpoint(folder.last, state)
    mean = mean_dice(result.dice) if result.dice else None
    metrics = {"loss": result.loss, "learning_rate": result.learning_rate, "dice": mean, "seconds": result.seconds}
    by_label = dict(zip(checked.dataset.labels, result.dice or [], strict=False))
    run.log_metrics(metrics | {f"dice_{name}": value for name, value in by_label.items()}, result.epoch)
    _append_history(folder.history, {"epoch": result.epoch, **metrics})
    shown = "" if state.last_dice is None else f"  Dice {state.last_dice:.3f} (best {state.best_dice:.3f})"
    progress.update(result.share, f"epoch {result.epoch}  loss {result.loss:.3f}{shown}", important=result.finished)


def _append_history(path: Path, row: dict[str, float | None]) -> None:
    """Add an epoch; rows of epochs that a resumed run does again are replaced."""
    rows: list[dict[str, object]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [old for old in csv.DictReader(stream) if int(old["epoch"]) < int(row["epoch"] or 0)]
    write_csv(path, HISTORY, [*rows, row])


def _finish(
    config: Config,
    checked: CheckedDataset,
    prepared: PreparedDataset,
    state: TrainingState,
    folder: RunFolder,
    run: TrackedRun,
) -> TrainedRun:
    dice = state.last_dice
    if config.training.export == "best" and folder.best.exists():
        load_checkpoint(folder.best, state)
        dice = state.best_dice
    manifest = _manifest(config, checked, prepared, state, run.run_id, dice)
    save_model(folder.model, average_weights(state), manifest)
    run.log_model(folder.model)
    run.log_file(folder.history)
    return TrainedRun(run.run_id, folder.root, folder.model, dice)


def _manifest(
    config: Config,
    checked: CheckedDataset,
    prepared: PreparedDataset,
    state: TrainingState,
    run_id: str,
    dice: float | None,
) -> Manifest:
    training = config.training
    return Manifest(
        name=config.name,
        labels=checked.dataset.labels,
        modalities=checked.dataset.modalities,
        preprocessing=prepared.fitted,
        network=config.network.model_copy(update={"init_from": None}),
        patch_size=training.patch_size,
        mirror_axes=config.augmentation.mirror_axes,
        inference=config.inference,
        evaluation=config.evaluation,
        parts=checked.parts_by_hash(),
        validation_dice=dice,
        weights_sha256="",
        provenance=Provenance(
            code_version=__version__,
            commit=code_commit(),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            run_id=run_id,
            dataset=checked.dataset.name,
            seed=training.seed,
            epochs=state.epoch,
            seconds=state.seconds,
            precision=training.precision,
            threads=training.threads or 0,
        ),
    )


def _try_step(config: Config, compute: Compute) -> None:
    """A training step on zeros, to be timed."""
    network = compute.place_network(_network(config, channels=1, classes=2), config.network.dimensions)
    patch = torch.zeros(config.training.batch_size, 1, *config.training.patch_size)
    with compute.autocast():
        logits = network(compute.place(patch))
    SegmentationLoss(config.training.loss)(logits, patch.to(compute.device)).backward()
