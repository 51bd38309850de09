"""``medseg train``: from a configuration to a tracked run and a model."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pipeline.commands import machine, run_folder, tracked_files
from pipeline.commands.batches import augmented_patches, first_batch, remaining_task
from pipeline.commands.calibration import temperature_of_run
from pipeline.commands.dataset import CheckedDataset, check_for_training
from pipeline.commands.estimate import estimate_of_run
from pipeline.commands.gate import gate_of_run
from pipeline.commands.job import (
    Job,
    may_log_case_names,
    new_job,
    provenance,
    read_experiment,
    record_data,
    resumed_job,
    save,
    settle,
    write_down,
)
from pipeline.commands.origin import (
    Origin,
    check_origin,
    learnt_by,
    read_origin,
    take_over,
    warn_of_other_preprocessing,
)
from pipeline.commands.preparation import PreparedDataset, prepare_dataset
from pipeline.commands.progress import progress_line
from pipeline.commands.run_folder import RunFolder
from pipeline.config.load import Config, load_config
from pipeline.losses.segmentation import SegmentationLoss, check_names
from pipeline.manifest import Manifest, Part, read_manifest, write_manifest
from pipeline.model import save_estimate, save_gate, save_model
from pipeline.networks.unet import UNet
from pipeline.report.plots import learning_curves
from pipeline.samples.patches import PatchDataset
from pipeline.tracking.identity import Identity, read_identity
from pipeline.tracking.run import has_finished, now_ms, sync
from pipeline.training.loop import EpochResult, Task, ensure_validated, fit, share_done
from pipeline.training.segmentation import SegmentationObjective
from pipeline.training.state import (
    Counters,
    TrainingState,
    average_weights,
    has_checkpoint,
    load_checkpoint,
    new_network,
    new_state,
)
from pipeline.training.validation import CaseDice, Validation, mean_by_class, mean_dice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves.

    Attributes:
        run_id: the run's id in MLflow, or its own while no server has given it one.
        is_recorded: whether MLflow knows the run.
        folder: the run's folder.
        model: the model's folder.
        validation_dice: mean Dice of the exported weights, None without validation cases.
    """

    run_id: str
    is_recorded: bool
    folder: Path
    model: Path
    validation_dice: float | None


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        checked: the data set as it is on disk.
        prepared: its cases as the network sees them.
        origin: the model whose weights training begins with, or None.
    """

    checked: CheckedDataset
    prepared: PreparedDataset
    origin: Origin | None

    @property
    def parts_by_hash(self) -> dict[str, Part]:
        """The part of each case by its content; what the weights learnt from before is trained on as well."""
        return self.checked.parts_by_hash() | learnt_by(self.origin)

    @property
    def labels(self) -> dict[str, int]:
        """Name and mask value of each structure, in the order of the classes."""
        return self.checked.dataset.labels

    @property
    def channels(self) -> int:
        """Channels of a scan."""
        return len(self.checked.dataset.modalities)

    @property
    def classes(self) -> int:
        """The background included."""
        return 1 + len(self.labels)


def train(config: Config, output: Path | None, console: Console) -> TrainedRun:
    """Train a network as configured.

    Args:
        config: the experiment.
        output: the run's folder; by default runs/<config name>/<MLflow run id>.
        console: where progress is shown.

    Raises:
        ConfigError, DatasetError, ModelError, ScanError: see their messages; the run is then FAILED in MLflow.
    """
    with new_job("train", config, output, console=console) as job:
        return _carry_out(job)


def resume(root: Path, console: Console) -> TrainedRun:
    """Go on with a run from its last checkpoint, or from the start where it has none; one that has finished stays so.

    Raises:
        ConfigError: the run was begun on a GPU, and this machine has none.
        ModelError: the folder holds no run, another process trains it, MLflow does not know it, or its checkpoints
            cannot be read.
    """
    folder = RunFolder(root)
    config, identity = run_folder.reopen(folder, load_config)
    with run_folder.locked(folder.place):
        if has_finished(folder.place) and folder.model.is_dir():
            return _finished(folder, config)
        with resumed_job("train", config, folder, identity=identity, console=console) as job:
            return _carry_out(job)


def _finished(folder: RunFolder, config: Config) -> TrainedRun:
    """A run that is done: nothing is trained, and MLflow gets what it may lack."""
    log.info("the run in %s has finished; there is nothing left to train", folder.root)
    sync(folder.place, config.tracking.wait_seconds)
    return _trained(folder, read_identity(folder.identity), read_manifest(folder.model).validation_dice)


def read_config(path: Path, overrides: list[str]) -> Config:
    """As `load_config`; a run whose configuration cannot be used has failed in MLflow."""
    return read_experiment(load_config, path, overrides)


def _carry_out(job: Job[Config]) -> TrainedRun:
    check_names(job.config.training.loss)
    job = settle(job, lambda config: machine.segmentation_step(config.training, config.network))
    data = _read_data(job)
    state = _trained_state(job, data)
    return _export(job, data, state)


def _trained_state(job: Job[Config], data: Data) -> TrainingState:
    """What is exported. The processes that make batches end with the training: what is fitted next is done without."""
    state = _starting_state(job, data)
    objective = _objective(job, data)
    patches, cases = _patches(job, data), len(data.prepared.train)
    task = remaining_task(job, patches, cases, objective=objective, counters=state.counters)
    job.run.sample_system()
    _run_epochs(job, task, state, data=data, objective=objective)
    if job.config.training.export == "best" and has_checkpoint(job.folder.best):
        load_checkpoint(job.folder.best, state)
    ensure_validated(state, task)
    return state


def _read_data(job: Job[Config]) -> Data:
    config = job.config
    origin = read_origin(config.network.init_from, job.folder)
    with progress_line(job.console, "reading") as progress:
        checked = check_for_training(config, job.folder, progress)
        if origin is not None:
            check_origin(origin, checked.parts_by_hash())
        record_data(job, checked)
        prepared = prepare_dataset(
            checked,
            progress,
            preprocessing=config.preprocessing,
            dimensions=config.network.dimensions,
            cache=config.cache,
            inference=config.inference,
        )
    return Data(checked, prepared, origin)


def _starting_state(job: Job[Config], data: Data) -> TrainingState:
    """The state to go on from: the last checkpoint, or else new weights or those of network.init_from."""
    config, resumed = job.config, has_checkpoint(job.folder.last)
    torch.manual_seed(config.training.seed)
    network = new_network(config.network, channels=data.channels, classes=data.classes, seed=config.training.seed)
    if config.network.init_from is not None and data.origin is not None and not resumed:
        take_over(config.network.init_from, data.origin, network, folder=job.folder)
        warn_of_other_preprocessing(data.origin, data.prepared.fitted)
    state = new_state(network, config.training.optimiser, job.compute, dimensions=config.network.dimensions)
    if resumed:
        load_checkpoint(job.folder.last, state)
        _write_down(job, state.record)  # what the interruption may have come before
    return state


def _patches(job: Job[Config], data: Data) -> PatchDataset:
    foreground = job.config.training.foreground
    return augmented_patches(job.config, data.prepared.train, data.prepared.fitted, foreground=foreground)


def _objective(job: Job[Config], data: Data) -> SegmentationObjective:
    training = job.config.training
    validation = Validation(data.prepared.validation, data.classes, training.patch_size, job.config.inference.overlap)
    return SegmentationObjective(SegmentationLoss(training.loss), validation, job.compute)


def _run_epochs(
    job: Job[Config], task: Task[list[CaseDice]], state: TrainingState, *, data: Data, objective: SegmentationObjective
) -> None:
    """Train; an epoch is done once its checkpoint is there, which holds what is then written down of it."""
    counters = state.counters
    pictures = tracked_files.Pictures(job.folder, job.run, list(data.labels), data.prepared.fitted)
    if counters.step == 0:
        pictures.draw_patches(first_batch(_patches(job, data), len(data.prepared.train), job.config.training))
        pictures.draw_validation(state.average, objective, counters.epoch)  # MLflow's slider begins at 0
    with progress_line(job.console, "training", done=share_done(counters, task)) as progress:
        for result in fit(state, task):
            state.record = _record(result, data)
            if result.found is not None and tracked_files.is_due(counters.validations, finished=result.finished):
                pictures.draw_validation(state.average, objective, result.epoch)
            save(job.folder, state, is_best=result.is_best)
            _write_down(job, state.record)
            progress.update(result.share, _progress_text(result, counters), important=result.finished)
    tracked_files.draw_curves(job.folder, job.run, learning_curves)


def _record(result: EpochResult[list[CaseDice]], data: Data) -> dict[str, Any]:
    """What an epoch came to, in plain values."""
    by_class = None if result.found is None else mean_by_class(result.found)
    mean = mean_dice(by_class) if by_class else None
    metrics = {"loss": result.loss, "learning_rate": result.learning_rate, "dice": mean, "seconds": result.seconds}
    by_label = dict(zip(data.labels, by_class, strict=True)) if by_class else {}
    return {
        "epoch": result.epoch,
        "time_ms": now_ms(),
        "metrics": metrics,
        "further": {f"dice_{name}": dice for name, dice in by_label.items()},
        "cases": _case_rows(result, data),
    }


def _case_rows(result: EpochResult[list[CaseDice]], data: Data) -> list[dict[str, Any]]:
    names = [case.stored.name for case in data.prepared.validation]
    return [
        {"epoch": result.epoch, "case": name, "label": label, "dice": dice}
        for name, row in zip(names, result.found or [], strict=False)
        for label, dice in zip(data.labels, row, strict=True)
    ]


def _write_down(job: Job[Config], record: dict[str, Any]) -> None:
    """Write the record of an epoch to the tables and to MLflow; what is there already is not written twice."""
    if record["cases"]:
        run_folder.append_rows(job.folder.validation, run_folder.VALIDATION, record["cases"], epoch=record["epoch"])
    write_down(job, record, run_folder.HISTORY)


def _progress_text(result: EpochResult[list[CaseDice]], counters: Counters) -> str:
    last, best = counters.last_score, counters.best_score
    shown = f"  Dice {last:.3f} (best {best:.3f})" if last is not None and best is not None else ""
    return f"epoch {result.epoch}  loss {result.loss:.3f}{shown}"


def _export(job: Job[Config], data: Data, state: TrainingState) -> TrainedRun:
    folder = job.folder
    assert isinstance(state.average, UNet)
    manifest = save_model(folder.model, average_weights(state), _manifest(job, data, state.counters))
    temperature = temperature_of_run(job, folder.model, checked=data.checked, prepared=data.prepared)
    if temperature is not None:
        manifest = manifest.model_copy(update={"temperature": temperature})
        write_manifest(folder.model, manifest)
    gate = gate_of_run(job, state.average, checked=data.checked, prepared=data.prepared)
    if gate:
        manifest = save_gate(folder.model, manifest, gate)
    estimate = estimate_of_run(job, folder.model, checked=data.checked, prepared=data.prepared)
    if estimate:
        save_estimate(folder.model, manifest, estimate)
    tracked_files.log_results(folder, job.run, job.config.tracking, names_cases=may_log_case_names(job.config))
    return _trained(folder, job.run.identity, state.counters.last_score)


def _trained(folder: RunFolder, identity: Identity, validation_dice: float | None) -> TrainedRun:
    return TrainedRun(identity.any_id, identity.run_id is not None, folder.root, folder.model, validation_dice)


def _manifest(job: Job[Config], data: Data, counters: Counters) -> Manifest:
    config = job.config
    return Manifest(
        name=config.name,
        labels=data.labels,
        codes=config.data.codes,
        categories=config.data.categories,
        modalities=data.checked.dataset.modalities,
        mask=config.data.mask,
        files=config.data.files,
        channel_files=data.checked.dataset.channel_files,
        preprocessing=data.prepared.fitted,
        ranges=data.prepared.ranges,
        network=config.network.model_copy(update={"init_from": None}),
        patch_size=config.training.patch_size,
        mirror_axes=data.prepared.fitted.prepared_axes(config.augmentation.mirror_axes),
        inference=config.inference,
        evaluation=config.evaluation,
        parts=data.parts_by_hash,
        validation_dice=counters.last_score,
        weights_sha256="",  # `save_model` fills it in
        provenance=provenance(job, data.checked, counters, origin=data.origin),
    )
