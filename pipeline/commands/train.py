"""``medseg train``: from a configuration to a tracked run and a model."""

import datetime
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pipeline import __version__
from pipeline.augmentation.sample import Sample
from pipeline.commands import machine, run_folder, tracked_files
from pipeline.commands.dataset import CheckedDataset, check_for_training
from pipeline.commands.models import local_model
from pipeline.commands.preparation import PreparedDataset, prepare_dataset
from pipeline.commands.progress import progress_line
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.surroundings import describe_code_and_machine
from pipeline.config.load import Config, load_config
from pipeline.errors import DatasetError, UserError
from pipeline.files import writing_to
from pipeline.inference.precision import Compute
from pipeline.layouts.split import write_split
from pipeline.manifest import Manifest, Part, Provenance, read_manifest, write_manifest
from pipeline.model import initial_weights, save_model
from pipeline.networks.unet import UNet
from pipeline.provenance import code_commit
from pipeline.samples.patches import BatchPlan, PatchDataset, batches_per_epoch, make_loader
from pipeline.tracking.identity import Identity, read_identity
from pipeline.tracking.run import TrackedRun, has_finished, now_ms, record_failed_start, sync, track
from pipeline.training.loop import EpochResult, Task, ensure_validated, fit, share_done
from pipeline.training.schedule import Clock
from pipeline.training.state import (
    Counters,
    TrainingState,
    average_weights,
    has_checkpoint,
    load_checkpoint,
    new_network,
    new_state,
    save_checkpoint,
)
from pipeline.training.validation import Validation, mean_dice
from pipeline.wording import enumerate_names

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
class Job:
    """What a run is asked to do, and where it leaves what it does.

    Attributes:
        config: resolved.
        folder: on disk.
        run: in MLflow.
        clock: the seconds that count towards training.max_minutes, from the start of this process.
        console: where progress is shown.
        commit: of the code that runs, or None; asked once, because the checkout may go on while a run does.
    """

    config: Config
    folder: RunFolder
    run: TrackedRun
    clock: Clock
    console: Console
    commit: str | None

    @property
    def compute(self) -> Compute:
        """Where the network runs."""
        return Compute(torch.device(self.config.training.device), self.config.training.precision)


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
    origin: Manifest | None

    @property
    def parts_by_hash(self) -> dict[str, Part]:
        """The part of each case by its content; what the weights learnt from before is trained on as well."""
        learnt: dict[str, Part] = dict.fromkeys(self.origin.trained_on, "train") if self.origin is not None else {}
        return self.checked.parts_by_hash() | learnt

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
    clock, commit, tells = Clock.start(), code_commit(), may_log_case_names(config)
    with ExitStack() as held, track(config.tracking, config.name, tells_errors=tells) as run:
        folder = RunFolder(output or Path("runs") / config.name / run.identity.any_id)
        with writing_to(folder.root):
            held.enter_context(run_folder.locked(folder.place))
            run_folder.begin(folder, config)
            run.keep_in(folder.place)
        with _saying_how_to_go_on(folder, console):
            return _carry_out(Job(config, folder, run, clock, console, commit))


def resume(root: Path, console: Console) -> TrainedRun:
    """Go on with a run from its last checkpoint, or from the start where it has none; one that has finished stays so.

    Raises:
        ConfigError: the run was begun on a GPU, and this machine has none.
        ModelError: the folder holds no run, another process trains it, MLflow does not know it, or its checkpoints
            cannot be read.
    """
    clock, commit = Clock.start(), code_commit()
    folder = RunFolder(root)
    config, identity = run_folder.reopen(folder)
    with run_folder.locked(folder.place):
        if has_finished(folder.place) and folder.model.is_dir():
            return _finished(folder, config)
        machine.check_device(config.training)  # before MLflow hears of it: a run that cannot go on here has not failed
        tells = may_log_case_names(config)
        with track(config.tracking, config.name, continues=identity, place=folder.place, tells_errors=tells) as run:
            run_folder.remove_partial(folder)
            with _saying_how_to_go_on(folder, console):
                return _carry_out(Job(config, folder, run, clock, console, commit))


@contextmanager
def _saying_how_to_go_on(folder: RunFolder, console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted; `medseg train --resume {folder.root}` goes on"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        raise


def _finished(folder: RunFolder, config: Config) -> TrainedRun:
    """A run that is done: nothing is trained, and MLflow gets what it may lack."""
    log.info("the run in %s has finished; there is nothing left to train", folder.root)
    sync(folder.place, config.tracking.wait_seconds)
    return _trained(folder, read_identity(folder.identity), read_manifest(folder.model).validation_dice)


def read_config(path: Path, overrides: list[str]) -> Config:
    """Read a configuration; where it cannot be used, the run that it was to be has failed, and MLflow says why.

    Raises:
        ConfigError: every problem of the file and the overrides.
    """
    try:
        return load_config(path, overrides)
    except UserError as error:
        record_failed_start(path.stem, error)
        raise


def _carry_out(job: Job) -> TrainedRun:
    with writing_to(job.folder.root):
        job = _settle(job)
        data = _read_data(job)
        state = _starting_state(job, data)
        task = _task(job, data, state.counters)
        job.run.sample_system()
        _run_epochs(job, task, state, data=data)
        if job.config.training.export == "best" and has_checkpoint(job.folder.best):
            load_checkpoint(job.folder.best, state)
        ensure_validated(state, task)
        return _export(job, data, state)


def _settle(job: Job) -> Job:
    """Choose what depends on the machine, once; a resumed run finds it in its configuration."""
    config = job.config
    settled = config.model_copy(update={"training": machine.settle(config.training, config.network)})
    run_folder.save_config(job.folder, settled)
    job.run.log_settings(settled.model_dump(mode="json"))
    job.run.set_tags(describe_code_and_machine("train", job.commit))
    assert settled.training.threads is not None
    torch.set_num_threads(settled.training.threads)
    return replace(job, config=settled)


def _read_data(job: Job) -> Data:
    config = job.config
    origin = _read_origin(config.network.init_from, job.folder)
    with progress_line(job.console, "reading") as progress:
        checked = check_for_training(config, job.folder, progress)
        if origin is not None:
            check_origin(origin, checked.parts_by_hash())
        _record_data(job, checked)
        prepared = prepare_dataset(
            checked,
            progress,
            preprocessing=config.preprocessing,
            dimensions=config.network.dimensions,
            cache=config.cache,
            inference=config.inference,
        )
    return Data(checked, prepared, origin)


def _read_origin(source: str | None, folder: RunFolder) -> Manifest | None:
    """The manifest of network.init_from; a copy is kept, so that a resumed run does not need the model any more."""
    if source is None:
        return None
    if not folder.origin.exists():
        with local_model(source) as model:
            write_manifest(folder.origin, read_manifest(model))
    return read_manifest(folder.origin)


def check_origin(origin: Manifest, parts: Mapping[str, Part]) -> None:
    """Refuse to begin with weights that have seen what this run is validated or tested on.

    Args:
        origin: the model of network.init_from.
        parts: part of each case of this run by its content.

    Raises:
        DatasetError: says how many cases these are.
    """
    seen = [parts[case] for case in origin.trained_on if parts.get(case) in ("validation", "test")]
    if seen:
        raise DatasetError(
            "a model in network.init_from that has not learnt from cases which this run validates or tests on",
            f"one that has from {seen.count('validation')} to validate on and {seen.count('test')} kept for testing",
            "Take over its split as well (data.split.file, the split.json of its run), or begin with another model.",
        )


def _record_data(job: Job, checked: CheckedDataset) -> None:
    """Write down what is trained on; files that name cases leave this machine only where they may."""
    folder, parts = job.folder, checked.split
    write_split(folder.split, parts, checked.split_config)
    job.run.set_tags({"dataset": checked.dataset.name})
    job.run.log_datasets(tracked_files.used_datasets(checked))
    for path in (folder.config, *((folder.split, folder.checks) if may_log_case_names(job.config) else ())):
        job.run.log_file(path)
    job.console.print(
        f"{checked.dataset.name}: {len(parts.train)} cases to train on, {len(parts.validation)} to validate, "
        f"{len(parts.test)} kept for testing; {len(checked.findings)} warnings in {folder.checks}",
        markup=False,
        highlight=False,
    )


def may_log_case_names(config: Config) -> bool:
    """Whether files that name cases may leave the run's folder: not where the names tell patients apart, if not asked.

    MLflow then has the split in model.json, by hashes of the content.
    """
    asked, data = config.tracking.log_case_names, config.data
    return data.patient_pattern is None and data.patient_table is None if asked == "auto" else asked


def _starting_state(job: Job, data: Data) -> TrainingState:
    """The state to go on from: the last checkpoint, or else new weights or those of network.init_from."""
    config, resumed = job.config, has_checkpoint(job.folder.last)
    torch.manual_seed(config.training.seed)
    network = new_network(config.network, channels=data.channels, classes=data.classes, seed=config.training.seed)
    if config.network.init_from is not None and data.origin is not None and not resumed:
        _take_over(config.network.init_from, data.origin, network)
    state = new_state(network, config.training.optimiser, job.compute, dimensions=config.network.dimensions)
    if resumed:
        load_checkpoint(job.folder.last, state)
        _write_down(job, state.record)  # what the interruption may have come before
    return state


def _take_over(source: str, origin: Manifest, network: UNet) -> None:
    total = len(network.state_dict())
    with local_model(source) as model:
        new = initial_weights(model, origin.weights_sha256, network)
    without = f"; new ones are {enumerate_names(new)}" if new else ""
    log.info("network.init_from: %d of %d tensors taken over from %s%s", total - len(new), total, source, without)


def _patches(job: Job, data: Data) -> PatchDataset:
    """Augmented patches; axes to mirror are given in RAS order, and slices may lie across another one."""
    axes = data.prepared.fitted.prepared_axes(job.config.augmentation.mirror_axes)
    augmentation = job.config.augmentation.model_copy(update={"mirror_axes": axes})
    return PatchDataset(data.prepared.train, job.config.training, augmentation)


def _task(job: Job, data: Data, counters: Counters) -> Task:
    """What is left to do."""
    training, cases = job.config.training, data.prepared.train
    patches = _patches(job, data)
    plan = BatchPlan(len(cases), training, counters.epoch)
    loader = make_loader(patches, plan, training.workers, pin_memory=training.device == "cuda")
    return Task(
        batches=iter(loader),
        batches_per_epoch=batches_per_epoch(len(cases), training),
        validation=Validation(
            data.prepared.validation, data.classes, training.patch_size, job.config.inference.overlap
        ),
        config=training,
        compute=job.compute,
        clock=job.clock.after(counters.seconds),
    )


def _run_epochs(job: Job, task: Task, state: TrainingState, *, data: Data) -> None:
    """Train; an epoch is done once its checkpoint is there, which holds what is then written down of it."""
    counters = state.counters
    pictures = tracked_files.Pictures(job.folder, job.run, list(data.labels), data.prepared.fitted)
    if counters.step == 0:
        pictures.draw_patches(_first_batch(job, data))
        pictures.draw_validation(state.average, task, counters.epoch)  # MLflow's slider begins at 0
    with progress_line(job.console, "training", done=share_done(counters, task)) as progress:
        for result in fit(state, task):
            state.record = _record(result, data)
            if result.cases is not None and pictures.is_due(counters.validations, finished=result.finished):
                pictures.draw_validation(state.average, task, result.epoch)
            _save(job.folder, state, is_best=result.is_best)
            _write_down(job, state.record)
            progress.update(result.share, _progress_text(result, counters), important=result.finished)
    pictures.draw_curves()


def _record(result: EpochResult, data: Data) -> dict[str, Any]:
    """What an epoch came to, in plain values."""
    mean = mean_dice(result.dice) if result.dice else None
    metrics = {"loss": result.loss, "learning_rate": result.learning_rate, "dice": mean, "seconds": result.seconds}
    by_label = dict(zip(data.labels, result.dice, strict=True)) if result.dice else {}
    return {
        "epoch": result.epoch,
        "time_ms": now_ms(),
        "metrics": metrics,
        "labels": {f"dice_{name}": dice for name, dice in by_label.items()},
        "cases": _case_rows(result, data),
    }


def _case_rows(result: EpochResult, data: Data) -> list[dict[str, Any]]:
    names = [case.stored.name for case in data.prepared.validation]
    return [
        {"epoch": result.epoch, "case": name, "label": label, "dice": dice}
        for name, row in zip(names, result.cases or [], strict=False)
        for label, dice in zip(data.labels, row, strict=True)
    ]


def _write_down(job: Job, record: dict[str, Any]) -> None:
    """Write the record of an epoch to the tables and to MLflow; what is there already is not written twice."""
    folder, epoch, metrics = job.folder, record["epoch"], record["metrics"]
    row = {"epoch": epoch, **metrics}
    run_folder.append_rows(folder.history, run_folder.HISTORY, [row], epoch=epoch)
    if record["cases"]:
        run_folder.append_rows(folder.validation, run_folder.VALIDATION, record["cases"], epoch=epoch)
    job.run.log_metrics(metrics | record["labels"], epoch, time_ms=record["time_ms"])


def _save(folder: RunFolder, state: TrainingState, *, is_best: bool) -> None:
    """The last checkpoint goes last: with it, an epoch is done, and what was written of the epoch is not done again."""
    if is_best:
        save_checkpoint(folder.best, state)
    save_checkpoint(folder.last, state)


def _progress_text(result: EpochResult, counters: Counters) -> str:
    last, best = counters.last_dice, counters.best_dice
    shown = f"  Dice {last:.3f} (best {best:.3f})" if last is not None and best is not None else ""
    return f"epoch {result.epoch}  loss {result.loss:.3f}{shown}"


def _first_batch(job: Job, data: Data) -> list[Sample]:
    """The patches of the first batch, as the network sees them."""
    patches = _patches(job, data)
    keys = next(iter(BatchPlan(len(data.prepared.train), job.config.training, 0)))
    return [patches[key] for key in keys[: tracked_files.SHOWN]]


def _export(job: Job, data: Data, state: TrainingState) -> TrainedRun:
    folder = job.folder
    save_model(folder.model, average_weights(state), _manifest(job, data, state.counters))
    tracked_files.log_results(folder, job.run, job.config.tracking, names_cases=may_log_case_names(job.config))
    return _trained(folder, job.run.identity, state.counters.last_dice)


def _trained(folder: RunFolder, identity: Identity, validation_dice: float | None) -> TrainedRun:
    return TrainedRun(identity.any_id, identity.run_id is not None, folder.root, folder.model, validation_dice)


def _manifest(job: Job, data: Data, counters: Counters) -> Manifest:
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
        validation_dice=counters.last_dice,
        weights_sha256="",  # `save_model` fills it in
        provenance=_provenance(job, data, counters),
    )


def _provenance(job: Job, data: Data, counters: Counters) -> Provenance:
    training, dataset = job.config.training, data.checked.dataset
    return Provenance(
        code_version=__version__,
        commit=job.commit,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        run_id=job.run.identity.any_id,
        names_cases=may_log_case_names(job.config),
        dataset=dataset.name,
        dataset_labels=dataset.own_labels,
        dataset_modalities=dataset.own_modalities,
        init_from=data.origin.weights_sha256 if data.origin is not None else None,
        seed=training.seed,
        epochs=counters.epoch,
        seconds=counters.seconds,
        precision=training.precision,
        threads=training.threads or 0,
    )
