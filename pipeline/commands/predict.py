"""``medseg predict``: masks for a scan or a folder of scans."""

import hashlib
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from pipeline import __version__
from pipeline.commands.prediction_plan import Planned, clear, plan_all
from pipeline.commands.prediction_record import PredictionRecord
from pipeline.commands.prediction_run import Batch, finished_meanwhile, run_cases
from pipeline.commands.prediction_session import Session, remove_partial_files
from pipeline.commands.prediction_watch import heartbeat, logging_to, run_log, write_status
from pipeline.commands.prediction_worklist import REPORT, TABLE, Row, Worklist
from pipeline.commands.progress import ProgressLine, progress_line
from pipeline.config.inference import InferenceConfig
from pipeline.errors import OutputError
from pipeline.files import make_writable, writing_to
from pipeline.formats.dicom.identity import read_identity
from pipeline.inference.archives import scratch_folder
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import channels_of, find_cases
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import run_isolated
from pipeline.manifest import Manifest
from pipeline.model import Model
from pipeline.wording import enumerate_names

STYLES = {"failed": "red", "review": "yellow"}
"""In which colour the rows are shown that a person should know of."""

NO_DICE = "Masks get no predicted Dice: the model was not fitted to mirrored predictions. Use --no-tta to have it."


@dataclass(frozen=True)
class Options:
    """What a user can ask for beside the settings of the model.

    Attributes:
        overwrite: do cases again that the output holds already, and replace files that this command did not write; by
            default finished cases are kept, and a case whose place is taken fails.
        identity: name the patients of DICOM series in the table.
    """

    overwrite: bool = False
    identity: bool = False


@dataclass(frozen=True)
class Predictions:
    """What came of a folder: a row a file, as in cases.csv, and how many of the scans failed."""

    rows: list[Row]
    failed: int
    done: int


def predict(
    model: Model,
    source: Path,
    output: Path,
    *,
    config: InferenceConfig,
    console: Console,
    options: Options | None = None,
) -> Predictions:
    """Write a mask, statistics and pictures for each scan, and a table of all.

    Several processes may do this at one time with the same model, settings and folders: they share the cases. SIGTERM
    ends the command after the case in hand.

    Args:
        model: the trained model.
        source: a scan or a folder of them.
        output: where results go; see docs/predicting.md for its layout.
        config: settings of the sliding window and the readers.
        console: where progress is shown.
        options: none by default.

    Raises:
        ConfigError: a device, a number format or a label that is not there.
        DatasetError: there is no scan at ``source``, or it is ``output`` as well.
        OutputError: ``output`` cannot be written to, or another process writes something else to it.
        KeyboardInterrupt: the run was stopped; what is done is kept, and the table says what is not.
    """
    options = options or Options()
    with scratch_folder() as scratch:
        inputs = find_cases(source, output, channels_of(model.manifest), config=config, scratch=scratch)
        predictor = Predictor(model, config)  # takes seconds where its network has to be converted
        if not predictor.predicts_dice and model.estimate:
            console.print(NO_DICE, markup=False, highlight=False, soft_wrap=True, style="yellow")
        make_writable(output)
        with logging_to(output), _working_on(output, model.manifest, config) as (session, record):
            with writing_to(output), session.starting(_work(record, source, config, options=options)):
                plan = _start(inputs, record, session=session, options=options, console=console)
            with _stop_asked_for() as stop:
                batch = Batch(predictor, record, session, stop)
                identities = _identities(plan, config) if options.identity else None
                worklist = Worklist(output, model.manifest, plan, identities=identities)
                _run(worklist, plan, batch, console=console)
    return _summary(worklist.rows)


@contextmanager
def _working_on(
    output: Path, manifest: Manifest, config: InferenceConfig
) -> Iterator[tuple[Session, PredictionRecord]]:
    """Take part in the work on a folder, whose manifest is written at the end."""
    with writing_to(output):
        session, record = Session(output), PredictionRecord(output, manifest, config)
    try:
        yield session, record
    finally:
        if session.has_joined:
            with writing_to(output), session.leaving():
                record.read()
                record.write()


def _work(record: PredictionRecord, source: Path, config: InferenceConfig, *, options: Options) -> str:
    """What processes must have in common that share a folder."""
    which = config.series.model_dump(mode="json"), config.unpacked_gb
    work = (record.made_by, which, str(source.resolve()), options.overwrite, options.identity)
    return hashlib.sha256(repr(work).encode(errors="surrogateescape")).hexdigest()


def _start(
    inputs: Sequence[InputFile], record: PredictionRecord, *, session: Session, options: Options, console: Console
) -> list[Planned]:
    """Plan the cases; the first process removes the older table, and the older results of what is done again or fails.

    That comes before the first case is done: whatever ends the run early, no older mask passes for one of this run.
    """
    write_status(record.output, "starting", {"cases": len(inputs)})
    record.read()
    plan = plan_all(inputs, record, overwrite=options.overwrite and session.is_first)
    if not session.is_first:
        return plan
    _show_older(plan, record, console)
    for name in (TABLE, REPORT):
        (record.output / name).unlink(missing_ok=True)
    for folder in (record.output, *(record.output / case for case in record.cases())):
        remove_partial_files(folder)
    cleared = clear(plan, record)
    record.write()
    record.clear_journal()
    return cleared


def _show_older(plan: Sequence[Planned], record: PredictionRecord, console: Console) -> None:
    """Say which older results are replaced, and which stay though no row speaks of them."""
    older = record.finished()
    again = [item.entry.case for item in plan if item.is_to_do and item.entry.case in older]
    strangers = sorted(older - {item.entry.case for item in plan})
    messages = [
        (again, "are done again: the model, the settings or the scan changed, or --overwrite was given"),
        (strangers, "of an earlier run were not seen in INPUT; they stay, and have no row"),
    ]
    for cases, message in messages:
        if cases:
            text = f"{len(cases)} in {record.output} ({enumerate_names(cases)}) {message}."
            console.print(text, markup=False, highlight=False, soft_wrap=True, style="yellow")


def _run(worklist: Worklist, plan: Sequence[Planned], batch: Batch, *, console: Console) -> None:
    """Do the cases; however that ends, the table and the report say how far it came."""
    manifest = batch.predictor.manifest
    run_log.info(
        "medseg %s, model %s (%s): %d inputs, %d to do",
        *(__version__, manifest.name, manifest.weights_sha256[:16], len(plan), sum(item.is_to_do for item in plan)),
    )
    try:
        with heartbeat(worklist.output, worklist.counts), progress_line(console, "predicting") as progress:
            for result in run_cases(plan, batch):
                _show(worklist.add(result), progress)
                done, to_do = worklist.shares
                progress.update(done / to_do if to_do else 1.0, f"case {len(worklist.rows)} of {len(plan)}")
    except BaseException:
        with suppress(OutputError):  # what ended the run is what the user has to know
            _end(worklist, plan, batch)
        raise
    _end(worklist, plan, batch)
    if worklist.missing:
        raise KeyboardInterrupt


def _end(worklist: Worklist, plan: Sequence[Planned], batch: Batch) -> None:
    """Write what came of the cases, also of those that were done while the run was being stopped."""
    for result in finished_meanwhile(plan, worklist.missing, batch):
        worklist.add(result)
    state, counts = "stopped" if worklist.missing else "done", worklist.counts()
    worklist.end()
    write_status(worklist.output, state, counts)
    run_log.info("%s: %s", state, ", ".join(f"{count} {name}" for name, count in counts.items()))


def _identities(plan: Sequence[Planned], config: InferenceConfig) -> dict[str, dict[str, str]]:
    """Whose images the series hold, by case; headers are read in processes, as any file is."""
    first = {item.entry.case: item.entry.volume.frames[0].path for item in plan if item.entry.volume is not None}
    outcomes = run_isolated(read_identity, list(first.values()), config)
    return {case: outcome.value or {} for case, outcome in zip(first, outcomes, strict=True)}


@contextmanager
def _stop_asked_for() -> Iterator[threading.Event]:
    """SIGTERM asks for an end after the case in hand, and a second one does what it did before; elsewhere, nothing."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there may a handler be set
        yield stop
        return
    before = signal.getsignal(signal.SIGTERM)

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGTERM, before)

    signal.signal(signal.SIGTERM, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(row: Row, progress: ProgressLine) -> None:
    if row["status"] in STYLES:
        text, style = f"{row['status']}: {row['case']}: {row['reason']}", STYLES[row["status"]]
        progress.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _summary(rows: list[Row]) -> Predictions:
    failed = sum(row["status"] == "failed" for row in rows)
    return Predictions(rows, failed, sum(row["status"] in ("ok", "review") for row in rows))
