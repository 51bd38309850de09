"""A run that is being recorded."""

import logging
import shutil
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.config.tracking import TrackingConfig
from pipeline.errors import reason_of
from pipeline.files import write_text
from pipeline.tracking import address
from pipeline.tracking.identity import Identity, Place, Wanted, read_identity, write_identity
from pipeline.tracking.names import flat_settings, legal_names
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.records import (
    AnyRecord,
    Failure,
    File,
    Metrics,
    Params,
    Picture,
    Registration,
    RunStatus,
    Status,
    Tags,
    UsedDataset,
)
from pipeline.tracking.sender import Sender
from pipeline.tracking.system import MARKER, SystemSampler

KILLED_WAIT_SECONDS = 8.0
"""How long an interrupted run goes on sending; whoever stops a container waits ten seconds before the harder way."""
UNKNOWN_WAIT_SECONDS = 1.0
"""How long the end of a run is waited for that is kept nowhere, and that no server heard of during the first wait."""
log = logging.getLogger(__name__)


class TrackedRun:
    """A run that is being recorded; whatever a method is given is on disk when it returns, and sent when it can be.

    Args:
        config: how it is recorded.
        identity: the run to go on with, or a new one.
        tells_errors: whether the texts of errors, which can name cases and paths, may leave this machine.
    """

    def __init__(self, config: TrackingConfig, identity: Identity, *, tells_errors: bool = True) -> None:
        self.config = config
        self.tells_errors = tells_errors
        self._outbox = Outbox()
        self._sender = Sender(self._outbox, identity, on_id=lambda _: self._write_identity())
        self._writing = threading.Lock()
        self._place: Place | None = None
        self._sampler: SystemSampler | None = None

    @property
    def identity(self) -> Identity:
        """Which run it is."""
        return self._sender.identity

    @property
    def run_id(self) -> str | None:
        """Its id in MLflow, None until that is known."""
        return self.identity.run_id

    def keep_in(self, place: Place) -> None:
        """Keep records in a folder from now on, and go on from those that it holds."""
        self._outbox.keep_in(place.outbox)
        self._sender.root = place.root
        self._place = place
        self._write_identity()

    def begin(self) -> None:
        """Begin to send, and wait a while for MLflow to know the run.

        Raises:
            ModelError: the run to go on with is not there.
        """
        self._sender.start()
        self._sender.wait_for_run(self.config.wait_seconds)

    def sample_system(self) -> None:
        """Record what the machine is doing, every few seconds until the run ends."""
        if self.config.system_metrics_seconds is not None and self._sampler is None:
            first = 1 + self._outbox.last_steps.get(MARKER, -1)
            self._sampler = SystemSampler(self._add, self.config.system_metrics_seconds, first_step=first, clock=now_ms)
            self._sampler.start()

    def log_settings(self, settings: dict[str, Any]) -> None:
        """Record nested settings as parameters with dotted names; values that are too long are cut."""
        self._add(Params(values=flat_settings(settings), once="settings"))

    def log_metrics(self, metrics: Mapping[str, float | None], step: int, *, time_ms: int | None = None) -> None:
        """Record the metrics that have a value at a step; a second time for the same names and step adds nothing."""
        legal = legal_names(metrics)
        known = {legal[name]: float(value) for name, value in metrics.items() if value is not None}
        moment = now_ms() if time_ms is None else time_ms
        once = f"{step} {min(metrics, default='')}"
        self._add(Metrics(values=known, step=step, time_ms=moment, once=once))

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Record tags; None removes one."""
        legal = legal_names(tags)
        self._add(Tags(values={legal[name]: value for name, value in tags.items()}))

    def log_file(self, path: Path, folder: str = "") -> None:
        """Record a file or a folder below the run's own folder among the run's artifacts, as it is when it is sent."""
        self._add(File(path=self._below(path), folder=folder))

    def log_picture(self, path: Path, key: str, step: int) -> None:
        """Record a picture of a series."""
        self._add(Picture(path=self._below(path), key=key, step=step, time_ms=now_ms(), once=f"{key} {step}"))

    def log_datasets(self, datasets: Sequence[UsedDataset]) -> None:
        """Record what the run learns from or is measured on."""
        for each in datasets:
            self._add(each.model_copy(update={"once": f"dataset {each.context}"}))

    def register_model(self, name: str, alias: str | None) -> None:
        """Make the run's model a version of a registered model."""
        self._add(Registration(name=name, alias=alias, once=f"registration {name}"))

    def go_on(self) -> None:
        """Say that it is running, whatever it was before."""
        self._add(Status(status="RUNNING", time_ms=now_ms()))
        self._add(Failure(reason=None))

    def end(self, status: RunStatus, error: BaseException | None = None) -> None:
        """Say that it has ended, send what is left, and say where it stays if that takes too long."""
        if self._sampler is not None:
            self._sampler.stop()
        if error is not None:
            self._tell(error)
        self._add(Status(status=status, time_ms=now_ms()), volatile=True)
        if self.send_rest(self._patience(status)) > 0:
            self.say_what_is_left()

    def _patience(self, status: RunStatus) -> float:
        limits = [self.config.wait_seconds]
        if status == "KILLED":
            limits.append(KILLED_WAIT_SECONDS)
        if self.run_id is None and self._place is None:
            limits.append(UNKNOWN_WAIT_SECONDS)
        return min(limits)

    def _tell(self, error: BaseException) -> None:
        """The reason, where MLflow's pages show it first: an error's text can name cases, if those may be named."""
        kind = type(error).__name__
        text = f"{kind}; the output of the command has its message"
        if self.tells_errors:
            text = reason_of(error) if isinstance(error, Exception) else kind
        self._add(Failure(reason=address.without_logins(text)[:5000]), volatile=True)
        if self.tells_errors and self._place is not None:
            path = self._place.outbox / "traceback.txt"
            with suppress(OSError):
                write_text(path, address.without_logins("".join(traceback.format_exception(error))))
                self._add(File(path=self._below(path)), volatile=True)

    def say_what_is_left(self) -> None:
        """Say what MLflow has not got, why, and which command sends it."""
        where = address.without_login(self.identity.uri)
        waiting, why = len(self._outbox), self._sender.error or self._sender.trouble or "too slow"
        if self._place is None:
            log.warning("MLflow at %s has not been told of this run (%s)", where, why)
            return
        log.warning(
            "MLflow at %s has not got everything (%s): %d records are kept in %s; `medseg sync %s` sends them",
            where,
            why,
            waiting,
            self._place.outbox,
            self._place.root,
        )

    def send_rest(self, seconds: float) -> int:
        """Go on sending, for so long at most; returns how many records are left then."""
        arrived = self._sender.close(seconds)
        if arrived and self._place is not None and not self._place.stays:
            shutil.rmtree(self._place.outbox, ignore_errors=True)
            with suppress(OSError):
                self._place.outbox.parent.rmdir()  # of the last one
        return 0 if arrived else max(1, len(self._outbox))

    def _write_identity(self) -> None:
        if self._place is not None:
            with self._writing:  # two threads write it, and the later one must know what the other knew
                keep_uri = not address.has_login(self.identity.uri)
                write_identity(self._place.identity, self.identity, keep_uri=keep_uri)

    def _add(self, record: AnyRecord, *, volatile: bool = False) -> None:
        if self._outbox.add(record, volatile=volatile):
            self._sender.notify()

    def _below(self, path: Path) -> str:
        assert self._place is not None
        return path.relative_to(self._place.root).as_posix()


@contextmanager
def track(
    config: TrackingConfig,
    name: str,
    *,
    continues: Identity | None = None,
    place: Place | None = None,
    parent_id: str | None = None,
    tells_errors: bool = True,
) -> Iterator[TrackedRun]:
    """Record a run; on leaving, it is FINISHED, FAILED after an exception, KILLED after an interrupt.

    Args:
        config: experiment, run name, tags, how long to wait for a server.
        name: the run's name where the configuration has none.
        continues: a run to go on with; by default the one that ``mlflow run`` started, or else a new one.
        place: where its records are kept; by default nowhere until `TrackedRun.keep_in`.
        parent_id: the run that a new one hangs on.
        tells_errors: whether the texts of errors may leave this machine.

    Raises:
        ModelError: the run to continue is not recorded there.
    """
    new = Identity(address.tracking_uri(), Wanted(config.experiment, config.run_name or name, parent_id))
    run = TrackedRun(config, continues or new, tells_errors=tells_errors)
    if place is not None:
        run.keep_in(place)
    try:
        run.begin()
    except KeyboardInterrupt:  # the run may be there already
        _end(run, "KILLED", None)
        raise
    try:
        run.go_on()
        run.set_tags({**config.tags})
        yield run
    except KeyboardInterrupt:
        _end(run, "KILLED", None)
        raise
    except BaseException as error:
        _end(run, "FAILED", error)
        raise
    run.end("FINISHED")


def sync(place: Place, wait_seconds: float) -> int:
    """Send what a folder still holds.

    Returns:
        How many records are left, because no server took them within the time.

    Raises:
        ModelError: the folder holds no run, or MLflow does not know it any more.
    """
    identity = read_identity(place.identity)
    run = TrackedRun(TrackingConfig(wait_seconds=wait_seconds), identity)
    run.keep_in(place)
    run.begin()
    left = run.send_rest(wait_seconds)
    if left > 0:
        run.say_what_is_left()
    elif identity.run_id is None:
        log.info("%s is the run %s in MLflow", place.root, run.run_id)
    return left


def has_finished(place: Place) -> bool:
    """Whether a run has come to its end, so that nothing is left of it but what may not have been sent."""
    outbox = Outbox()
    outbox.keep_in(place.outbox)
    return outbox.last_status == "FINISHED"


def record_failed_start(name: str, error: Exception) -> None:
    """Record a run that ended before it began, such as one whose configuration cannot be used.

    Whatever MLflow says to it, the error counts.
    """
    try:
        with suppress(type(error)), track(TrackingConfig(), name):
            raise error
    except Exception as other:
        log.warning("MLflow has not been told of this run: %s", reason_of(other))


def _end(run: TrackedRun, status: RunStatus, error: BaseException | None) -> None:
    """Record that a run has ended early. Whatever fails here must not take the place of what ended the run."""
    try:
        run.end(status, error)
    except Exception as other:
        log.warning("the run is %s, which could not be recorded: %s", status, reason_of(other))


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return time.time_ns() // 1_000_000
