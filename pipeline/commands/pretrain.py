"""``medseg pretrain``: from scans, without masks, to a tracked run and an autoencoder."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pipeline.commands import machine, run_folder
from pipeline.commands.batches import augmented_patches, first_batch, remaining_task
from pipeline.commands.code_map import read_colours
from pipeline.commands.dataset import CheckedDataset, check_scans
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
from pipeline.commands.preparation import PreparedScans, prepare_scans
from pipeline.commands.pretraining_pictures import PretrainingPictures
from pipeline.commands.progress import progress_line
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.tracked_files import draw_curves, is_due, log_model_files
from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.load import load_pretraining
from pipeline.config.pretraining import PretrainingConfig
from pipeline.errors import ConfigError
from pipeline.inference.precision import Step
from pipeline.manifest import AutoencoderManifest, Part, read_autoencoder_manifest
from pipeline.model import save_model
from pipeline.networks.autoencoder import Autoencoder
from pipeline.report.plots import reconstruction_curves
from pipeline.samples.corrupted import CorruptedPatches
from pipeline.tracking.identity import Identity, read_identity
from pipeline.tracking.run import has_finished, now_ms, sync
from pipeline.training.loop import EpochResult, Task, fit, share_done
from pipeline.training.reconstruction import (
    Reconstructed,
    ReconstructionObjective,
    intensity_bounds,
    validation_patches,
)
from pipeline.training.state import (
    Counters,
    TrainingState,
    average_weights,
    has_checkpoint,
    load_checkpoint,
    new_state,
)

log = logging.getLogger(__name__)
HISTORY = [
    "epoch",
    "loss",
    "learning_rate",
    "seconds",
    "mse",
    "l1",
    "psnr",
    "ssim",
    "input_mse",
    "active_share",
    "active_units",
    "kl",
    "kl_per_unit",
    "kl_per_number",
]
"""Columns of history.csv; a metric that the kind of network does not have stays empty."""


@dataclass(frozen=True)
class PretrainedRun:
    """What pretraining leaves.

    Attributes:
        run_id: the run's id in MLflow, or its own while no server has given it one.
        is_recorded: whether MLflow knows the run.
        folder: the run's folder.
        model: the autoencoder's folder.
        validation: what it came to on the validation scans, by metric; empty without such scans.
    """

    run_id: str
    is_recorded: bool
    folder: Path
    model: Path
    validation: dict[str, float]


@dataclass(frozen=True)
class Scans:
    """What a run learns from.

    Attributes:
        checked: the scans as they are on disk.
        prepared: as the network sees them.
        bounds: between which most of their normalised intensities lie.
        origin: the model whose weights training begins with, or None.
        colours: what each case is coloured after on the map of the codes.
    """

    checked: CheckedDataset
    prepared: PreparedScans
    bounds: tuple[float, float]
    origin: Origin | None
    colours: dict[str, str]

    @property
    def channels(self) -> int:
        """Channels of a scan."""
        return len(self.checked.dataset.modalities)

    @property
    def parts_by_hash(self) -> dict[str, Part]:
        """The part of each scan by its content; what the weights learnt from before is trained on as well."""
        return self.checked.parts_by_hash() | learnt_by(self.origin)


def read_config(path: Path, overrides: list[str]) -> PretrainingConfig:
    """As `load_pretraining`; a run whose configuration cannot be used has failed in MLflow."""
    return read_experiment(load_pretraining, path, overrides)


def pretrain(config: PretrainingConfig, output: Path | None, console: Console) -> PretrainedRun:
    """Train an autoencoder as configured; as `pipeline.commands.train.train`."""
    with new_job("pretrain", config, output, console=console) as job:
        return _carry_out(job)


def resume(root: Path, console: Console) -> PretrainedRun:
    """Go on with a run from its last checkpoint; as `pipeline.commands.train.resume`."""
    folder = RunFolder(root)
    config, identity = run_folder.reopen(folder, load_pretraining)
    with run_folder.locked(folder.place):
        if has_finished(folder.place) and folder.model.is_dir():
            log.info("the run in %s has finished; there is nothing left to train", folder.root)
            sync(folder.place, config.tracking.wait_seconds)
            manifest = read_autoencoder_manifest(folder.model)
            return _pretrained(folder, read_identity(folder.identity), manifest)
        with resumed_job("pretrain", config, folder, identity=identity, console=console) as job:
            return _carry_out(job)


def _carry_out(job: Job[PretrainingConfig]) -> PretrainedRun:
    job = settle(job, _trial_step)
    data = _read_data(job)
    state = _starting_state(job, data)
    objective = _objective(job, data)
    patches, scans = _patches(job, data), len(data.prepared.train)
    task = remaining_task(job, patches, scans, objective=objective, counters=state.counters)
    job.run.sample_system()
    _run_epochs(job, task, state, data=data)
    if job.config.training.export == "best" and has_checkpoint(job.folder.best):
        load_checkpoint(job.folder.best, state)
    return _export(job, data, state, objective=objective)


def _trial_step(config: PretrainingConfig) -> Step:
    return machine.reconstruction_step(config.training, config.network, config.autoencoder)


def _read_data(job: Job[PretrainingConfig]) -> Scans:
    config = job.config
    origin = read_origin(config.network.init_from, job.folder)
    with progress_line(job.console, "reading") as progress:
        checked = check_scans(config, job.folder, progress)
        if origin is not None:
            check_origin(origin, checked.parts_by_hash())
        colours = read_colours(config, checked)
        record_data(job, checked)
        prepared = prepare_scans(
            checked,
            progress,
            preprocessing=config.preprocessing,
            dimensions=config.network.dimensions,
            cache=config.cache,
            inference=config.inference,
        )
    return Scans(checked, prepared, intensity_bounds(prepared.train), origin, colours)


def _starting_state(job: Job[PretrainingConfig], data: Scans) -> TrainingState:
    """The state to go on from: the last checkpoint, or else new weights or those of network.init_from."""
    config, resumed = job.config, has_checkpoint(job.folder.last)
    torch.manual_seed(config.training.seed)
    network = Autoencoder(
        config.network, config.autoencoder, channels=data.channels, patch_size=config.training.patch_size
    )
    if config.network.init_from is not None and data.origin is not None and not resumed:
        take_over(config.network.init_from, data.origin, network, folder=job.folder)
        warn_of_other_preprocessing(data.origin, data.prepared.fitted)
    state = new_state(network, config.training.optimiser, job.compute, dimensions=config.network.dimensions)
    if resumed:
        load_checkpoint(job.folder.last, state)
        write_down(job, state.record, HISTORY)  # what the interruption may have come before
    return state


def _corruption(job: Job[PretrainingConfig], data: Scans) -> AutoencoderConfig:
    """The autoencoder's settings, with the axes of what is prepared instead of those in RAS order."""
    config = job.config.autoencoder
    axes = data.prepared.fitted.prepared_axes(config.corruption.downsampling_axes)
    if config.corruption.lowers_resolution and not axes:
        expected = "an axis of the slices in autoencoder.corruption.downsampling_axes"
        found = f"{list(config.corruption.downsampling_axes)}, across them"
        raise ConfigError(expected, found, "Name another axis, or train a network of volumes.")
    return config.model_copy(update={"corruption": config.corruption.model_copy(update={"downsampling_axes": axes})})


def _objective(job: Job[PretrainingConfig], data: Scans) -> ReconstructionObjective:
    training, config = job.config.training, _corruption(job, data)
    patches = validation_patches(data.prepared.validation, config, training.patch_size, seed=training.seed)
    return ReconstructionObjective(config, data.bounds, patches, job.compute, job.config.network.dimensions)


def _patches(job: Job[PretrainingConfig], data: Scans) -> CorruptedPatches:
    patches = augmented_patches(job.config, data.prepared.train, data.prepared.fitted, foreground=0.0)
    return CorruptedPatches(patches, _corruption(job, data).corruption)


def _run_epochs(job: Job[PretrainingConfig], task: Task[Reconstructed], state: TrainingState, *, data: Scans) -> None:
    """Train; an epoch is done once its checkpoint is there, which holds what is then written down of it."""
    counters = state.counters
    pictures = _pictures(job, data)
    if counters.step == 0:
        pictures.draw_patches(first_batch(_patches(job, data), len(data.prepared.train), job.config.training))
    with progress_line(job.console, "training", done=share_done(counters, task)) as progress:
        for result in fit(state, task):
            state.record = _record(result)
            if result.found is not None and is_due(counters.validations, finished=result.finished):
                pictures.draw(result.found, result.epoch)
            save(job.folder, state, is_best=result.is_best)
            write_down(job, state.record, HISTORY)
            progress.update(result.share, _progress_text(result), important=result.finished)
    draw_curves(job.folder, job.run, reconstruction_curves)


def _pictures(job: Job[PretrainingConfig], data: Scans) -> PretrainingPictures:
    config = job.config.autoencoder
    return PretrainingPictures(
        folder=job.folder,
        run=job.run,
        bounds=data.bounds,
        is_corrupted=config.corruption.is_on,
        colours=data.colours,
        colour_title=config.map_column or "",
        logs_map=config.map_column is None or may_log_case_names(job.config),
    )


def _record(result: EpochResult[Reconstructed]) -> dict[str, Any]:
    """What an epoch came to, in plain values."""
    found = {} if result.found is None else result.found.metrics
    metrics = {"loss": result.loss, "learning_rate": result.learning_rate, "seconds": result.seconds}
    return {"epoch": result.epoch, "time_ms": now_ms(), "metrics": metrics | found, "further": {}}


def _progress_text(result: EpochResult[Reconstructed]) -> str:
    shown = "" if result.found is None else f"  error {result.found.metrics['mse']:.4f} (mean square)"
    return f"epoch {result.epoch}  loss {result.loss:.4f}{shown}"


def _export(
    job: Job[PretrainingConfig], data: Scans, state: TrainingState, *, objective: ReconstructionObjective
) -> PretrainedRun:
    found = objective.validate(state.average)
    manifest = _manifest(job, data, state.counters, validation={} if found is None else found.metrics)
    save_model(job.folder.model, average_weights(state), manifest)
    log_model_files(job.folder, job.run)
    return _pretrained(job.folder, job.run.identity, manifest)


def _pretrained(folder: RunFolder, identity: Identity, manifest: AutoencoderManifest) -> PretrainedRun:
    is_recorded = identity.run_id is not None
    return PretrainedRun(identity.any_id, is_recorded, folder.root, folder.model, manifest.validation)


def _manifest(
    job: Job[PretrainingConfig], data: Scans, counters: Counters, *, validation: dict[str, float]
) -> AutoencoderManifest:
    config, dataset = job.config, data.checked.dataset
    return AutoencoderManifest(
        name=config.name,
        modalities=dataset.modalities,
        files=config.data.files,
        channel_files=dataset.channel_files,
        preprocessing=data.prepared.fitted,
        network=config.network.model_copy(update={"init_from": None}),
        patch_size=config.training.patch_size,
        inference=config.inference,
        parts=data.parts_by_hash,
        weights_sha256="",  # `save_model` fills it in
        provenance=provenance(job, data.checked, counters, origin=data.origin),
        autoencoder=config.autoencoder.model_copy(update={"map_table": None}),
        bounds=data.bounds,
        validation=validation,
    )
