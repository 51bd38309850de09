"""A run while it is worked on: tracked, locked, and gone on with after an interruption, whatever it trains."""

import datetime
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from rich.console import Console

from pipeline import __version__
from pipeline.commands import machine, run_folder
from pipeline.commands.dataset import CheckedDataset
from pipeline.commands.origin import Origin
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.surroundings import describe_code_and_machine
from pipeline.commands.tracked_files import used_datasets
from pipeline.config.experiment import Experiment
from pipeline.config.training import LoopConfig
from pipeline.errors import UserError
from pipeline.files import writing_to
from pipeline.inference.precision import Compute, Step
from pipeline.layouts.split import write_split
from pipeline.manifest import Provenance
from pipeline.provenance import code_commit
from pipeline.tracking.identity import Identity
from pipeline.tracking.run import TrackedRun, record_failed_start, track
from pipeline.training.schedule import Clock
from pipeline.training.state import Counters, TrainingState, save_checkpoint

log = logging.getLogger(__name__)
E = TypeVar("E", bound=Experiment)
Command = Literal["train", "pretrain"]


@dataclass(frozen=True)
class Job(Generic[E]):
    """What a run is asked to do, and where it leaves what it does.

    Attributes:
        command: that was given.
        config: resolved.
        folder: on disk.
        run: in MLflow.
        clock: the seconds that count towards training.max_minutes, from the start of this process.
        console: where progress is shown.
        commit: of the code that runs, or None; asked once, because the checkout may go on while a run does.
    """

    command: Command
    config: E
    folder: RunFolder
    run: TrackedRun
    clock: Clock
    console: Console
    commit: str | None

    @property
    def compute(self) -> Compute:
        """Where the network runs."""
        return Compute(torch.device(self.config.training.device), self.config.training.precision)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False)


@contextmanager
def new_job(command: Command, config: E, output: Path | None, *, console: Console) -> Iterator[Job[E]]:
    """A new run while the block works on it; an exception that leaves the block is the run's end.

    Args:
        command: that was given.
        config: the experiment.
        output: the run's folder; by default runs/<config name>/<MLflow run id>.
        console: where progress is shown.
    """
    clock, commit = Clock.start(), code_commit()
    with ExitStack() as held, track(config.tracking, config.name, tells_errors=may_log_case_names(config)) as run:
        folder = RunFolder(output or Path("runs") / config.name / run.identity.any_id)
        with writing_to(folder.root):
            held.enter_context(run_folder.locked(folder.place))
            run_folder.begin(folder, config)
            run.keep_in(folder.place)
        with _saying_how_to_go_on(command, folder, console), writing_to(folder.root):
            yield Job(command, config, folder, run, clock, console, commit)


@contextmanager
def resumed_job(
    command: Command, config: E, folder: RunFolder, *, identity: Identity, console: Console
) -> Iterator[Job[E]]:
    """A run that was begun before, while the block works on it; its folder is locked.

    Raises:
        ConfigError: the run was begun on a GPU, and this machine has none.
    """
    clock, commit = Clock.start(), code_commit()
    machine.check_device(config.training)  # before MLflow hears of it: a run that cannot go on here has not failed
    tells = may_log_case_names(config)
    with track(config.tracking, config.name, continues=identity, place=folder.place, tells_errors=tells) as run:
        run_folder.remove_partial(folder)
        with _saying_how_to_go_on(command, folder, console), writing_to(folder.root):
            yield Job(command, config, folder, run, clock, console, commit)


@contextmanager
def _saying_how_to_go_on(command: Command, folder: RunFolder, console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted; `medseg {command} --resume {folder.root}` goes on"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        raise


def read_experiment(read: Callable[[Path, list[str]], E], path: Path, overrides: list[str]) -> E:
    """Read a configuration; where it cannot be used, the run that it was to be has failed, and MLflow says why.

    Raises:
        ConfigError: every problem of the file and the overrides.
    """
    try:
        return read(path, overrides)
    except UserError as error:
        record_failed_start(path.stem, error)
        raise


def settle(job: Job[E], trial: Callable[[E], Step]) -> Job[E]:
    """Choose what depends on the machine, once; a resumed run finds it in its configuration.

    Args:
        job: the run.
        trial: makes a training step that can be timed.
    """
    config = job.config
    training: LoopConfig = machine.settle(config.training, lambda: trial(config))
    settled = config.model_copy(update={"training": training})
    run_folder.save_config(job.folder, settled)
    job.run.log_settings(settled.model_dump(mode="json"))
    job.run.set_tags(describe_code_and_machine(job.command, job.commit))
    assert training.threads is not None
    torch.set_num_threads(training.threads)
    return replace(job, config=settled)


def record_data(job: Job[E], checked: CheckedDataset) -> None:
    """Write down what is trained on; files that name cases leave this machine only where they may."""
    folder, parts = job.folder, checked.split
    write_split(folder.split, parts, checked.split_config, unlabelled=checked.unlabelled)
    job.run.set_tags({"dataset": checked.dataset.name})
    job.run.log_datasets(used_datasets(checked))
    for path in (folder.config, *((folder.split, folder.checks) if may_log_case_names(job.config) else ())):
        job.run.log_file(path)
    job.say(
        f"{checked.dataset.name}: {len(checked.names('train'))} cases to train on, "
        f"{len(parts.validation)} to validate, {len(parts.test)} kept for testing; "
        f"{len(checked.findings)} warnings in {folder.checks}"
    )


def may_log_case_names(config: Experiment) -> bool:
    """Whether files that name cases may leave the run's folder: not where the names tell patients apart, if not asked.

    MLflow then has the split in model.json, by hashes of the content.
    """
    asked, data = config.tracking.log_case_names, config.data
    return data.patient_pattern is None and data.patient_table is None if asked == "auto" else asked


def write_down(job: Job[E], record: dict[str, Any], columns: list[str]) -> None:
    """Write the record of an epoch to the history and to MLflow; what is there already is not written twice.

    Args:
        job: the run.
        record: ``epoch``, ``time_ms``, the ``metrics`` of the history's columns, and ``further`` ones for MLflow alone.
        columns: of the history.
    """
    epoch, metrics = record["epoch"], record["metrics"]
    run_folder.append_rows(job.folder.history, columns, [{"epoch": epoch, **metrics}], epoch=epoch)
    job.run.log_metrics(metrics | record["further"], epoch, time_ms=record["time_ms"])


def save(folder: RunFolder, state: TrainingState, *, is_best: bool) -> None:
    """The last checkpoint goes last: with it, an epoch is done, and what was written of the epoch is not done again."""
    if is_best:
        save_checkpoint(folder.best, state)
    save_checkpoint(folder.last, state)


def provenance(job: Job[E], checked: CheckedDataset, counters: Counters, *, origin: Origin | None) -> Provenance:
    """Where the model of a run comes from."""
    training, dataset = job.config.training, checked.dataset
    return Provenance(
        code_version=__version__,
        commit=job.commit,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        run_id=job.run.identity.any_id,
        names_cases=may_log_case_names(job.config),
        dataset=dataset.name,
        dataset_labels=dataset.own_labels,
        dataset_modalities=dataset.own_modalities,
        init_from=origin.weights_sha256 if origin is not None else None,
        seed=training.seed,
        epochs=counters.epoch,
        seconds=counters.seconds,
        precision=training.precision,
        threads=training.threads or 0,
    )
