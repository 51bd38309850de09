"""Reading in worker processes that may crash, hang or run out of memory without harm to anything else.

Each worker has a pipe of its own and no lock is shared, so whatever kills one, at whatever moment, ends nothing but
its own item. Pools whose workers share a queue do not survive that: a worker that dies holding the queue's lock, as one
does that is killed for its memory while it sends a large array, stops them all.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from typing import Any, Generic, TypeVar

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ScanError, UserError
from pipeline.inference.memory import available_bytes
from pipeline.inference.reader_process import READY, DisconnectedError, Limits, receive, send, serve

Item = TypeVar("Item")
Value = TypeVar("Value")
PRELOADED = ["pipeline.cli", "pipeline.inference.reader_process", "pipeline.inference.reading", "nibabel"]
"""What is imported once for all processes, where they are forked: a process is then ready in a moment."""
SAFE_PATH = "PYTHONSAFEPATH"
STARTUP_SECONDS = 120.0
"""A process that has not started and imported its modules by then is given up."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: a value or an error, never both.

    Attributes:
        item: the item itself.
        value: what the function returned, or None where there is an error.
        error: why there is none, or None where the function returned.
        seconds: how long the function took, or ran until it was stopped.
    """

    item: Item
    value: Value | None
    error: UserError | None
    seconds: float


def run_isolated(
    function: Callable[[Item], Value], items: Iterable[Item], config: InferenceConfig
) -> Generator[Outcome[Item, Value], None, None]:
    """Call ``function(item)`` for every item in processes of their own, and yield an outcome for each, in order.

    Whatever a call does (raise, crash, hang, ask for too much memory, exit), it becomes the outcome of its own item,
    and the others go on. At most ``config.readers + 1`` items are begun and not yet done with, the one handed out
    included, so that memory stays bounded while the processes read ahead. Closing the generator kills the processes.
    On Linux they are forked from a server, which stays as long as this process does (`multiprocessing.forkserver`, of
    which there is one): it has imported what most calls need, and nothing else.

    Args:
        function: picklable, as are the items and the values; what it imports is imported once a process.
        items: taken one at a time, as the work proceeds.
        config: how many processes there are (``readers``); ``read_deadline_seconds``, after which a call is killed, not
            counting the time in which a process starts; ``reader_memory_gb``, the private memory that a process may
            allocate, not counting libraries and mapped files: less where the machine has less when a process starts.

    Example:
        >>> for outcome in run_isolated(read_scan, paths, InferenceConfig()):
        ...     print(outcome.item, outcome.error or outcome.value.shape)
    """
    limits = Limits(config.read_deadline_seconds, config.reader_memory_gb)
    readers = _Readers(config.readers, pickle.dumps(function), limits)
    remaining, jobs = iter(items), deque[_Job]()
    try:
        while True:
            jobs.extend(_Job(item) for item in islice(remaining, config.readers + 1 - len(jobs)))
            if not jobs:
                return
            readers.finish_first(jobs)
            yield jobs.popleft().outcome()
    finally:
        readers.stop()


@dataclass
class _Job:
    """An item on its way; ``began`` and ``ended`` say how far it has come."""

    item: Any
    began: bool = False
    ended: bool = False
    value: Any = None
    error: UserError | None = None
    seconds: float = 0.0

    def end(self, value: Any, error: UserError | None, seconds: float) -> None:
        self.value, self.error, self.seconds, self.ended = value, error, seconds, True

    def outcome(self) -> Outcome:
        return Outcome(self.item, self.value, self.error, self.seconds)


class _Reader:
    """A worker process, seen from the main process, and the job that it is busy with."""

    def __init__(self, function: bytes, limits: Limits) -> None:
        self.connection, self.process, theirs = _started(function, limits)
        theirs.close()  # the worker's copy is now the only one, so that its death is the end of the stream
        self.limits = limits
        self.job: _Job | None = None
        self.ready = False
        self.since = time.monotonic()  # when it started, or when its job began

    @property
    def deadline(self) -> float:
        return self.since + (self.limits.deadline_seconds if self.ready else STARTUP_SECONDS)

    def begin(self, job: _Job) -> None:
        """Hand over a job; its clock starts now, or else once the process is ready."""
        self.job, job.began = job, True
        self.since = time.monotonic()
        with suppress(DisconnectedError):  # it died; the end of its stream tells so, and why
            send(self.connection, job.item)

    def advance(self) -> None:
        """Take what the process has sent, or give it up where it is dead or late; waits for no message to begin."""
        try:
            if self.connection.poll():
                self._take(receive(self.connection))
            elif time.monotonic() > self.deadline:
                self._fail(self._late())
        except (EOFError, OSError):
            self.process.join(timeout=1.0)
            self._fail(self._dead(self.process.exitcode))

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _take(self, message: Any) -> None:
        if message == READY:
            self.ready, self.since = True, time.monotonic()
            return
        assert self.job is not None
        self.job.end(*message)
        self.job = None

    def _fail(self, error: ScanError) -> None:
        self.stop()
        assert self.job is not None
        self.job.end(None, error, time.monotonic() - self.since)
        self.job = None

    def _late(self) -> ScanError:
        if not self.ready:
            return ScanError(
                "a reader process that starts",
                f"one that was not ready after {STARTUP_SECONDS:g} s",
                "Look whether the machine is overloaded, and run again.",
            )
        return ScanError(
            f"a scan that is read within {self.limits.deadline_seconds:g} s",
            "one that was not done by then",
            "Look whether the file or its disk is at fault, or raise inference.read_deadline_seconds.",
        )

    def _dead(self, code: int | None) -> ScanError:
        if not self.ready:
            return ScanError(
                "a reader process that starts",
                f"one that {_ending(code)}",
                "Read what it printed; raise inference.reader_memory_gb if memory ran out, or mend the installation.",
            )
        remedy = "Look whether the file is damaged; export it again."
        if code == -signal.SIGKILL:
            remedy = "The machine may be out of memory: give it fewer inference.readers, or a smaller scan."
        return ScanError("a scan that can be read", f"that reading it crashed: the process {_ending(code)}", remedy)


class _Readers:
    """The worker processes: started when there is work for them, replaced when they die."""

    def __init__(self, workers: int, function: bytes, limits: Limits) -> None:
        self.workers, self.function, self.limits = workers, function, limits
        self.readers: list[_Reader] = []

    def finish_first(self, jobs: deque[_Job]) -> None:
        """Work until the first job has ended, and leave the others under way."""
        self._begin(jobs)
        while not jobs[0].ended:
            busy = [reader for reader in self.readers if reader.job is not None]
            remaining_seconds = min(reader.deadline for reader in busy) - time.monotonic()
            wait([reader.connection for reader in busy], timeout=max(remaining_seconds, 0))
            for reader in busy:
                reader.advance()
            self._begin(jobs)

    def stop(self) -> None:
        for reader in self.readers:
            reader.stop()

    def _begin(self, jobs: deque[_Job]) -> None:
        """Give waiting jobs to idle processes, in order."""
        self.readers = [reader for reader in self.readers if reader.job is not None or _is_alive(reader)]
        idle = [reader for reader in self.readers if reader.job is None]
        waiting = [job for job in jobs if not job.began]
        for job in waiting[: len(idle) + self.workers - len(self.readers)]:
            if not idle:
                limits = self.limits.share_of(available_bytes(), self.workers)
                idle.append(_Reader(self.function, limits))
                self.readers.append(idle[-1])
            idle.pop().begin(job)


def start_server() -> None:
    """Have the server that readers are forked from import what they need, while this process imports its own libraries.

    Whatever keeps it from starting comes up again, and is dealt with, when readers are started.
    """
    if sys.platform == "linux":
        multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
        with suppress(OSError, EOFError), _safe_path(), _deaf_to_interrupts():
            forkserver.ensure_running()


def _started(function: bytes, limits: Limits) -> tuple[Connection, ForkServerProcess | SpawnProcess, Connection]:
    """Our end of a pipe, a process that serves, and its end: forked where that is safe, never as a copy of this one."""
    arguments: dict[str, Any] = {"function": function, "limits": limits, "environment": dict(os.environ)}
    if sys.platform == "linux":  # elsewhere, a process that has imported NumPy may not be forked
        start_server()
        with suppress(OSError, EOFError), _safe_path():  # where the server cannot start, each process is started anew
            return _start(multiprocessing.get_context("forkserver"), arguments)
    return _start(multiprocessing.get_context("spawn"), arguments)


def _start(
    context: ForkServerContext | SpawnContext, arguments: dict[str, Any]
) -> tuple[Connection, ForkServerProcess | SpawnProcess, Connection]:
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), kwargs=arguments, daemon=True)
    try:
        process.start()
    except (OSError, EOFError):
        ours.close()
        theirs.close()
        raise
    return ours, process, theirs


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that is started meanwhile is not ended by Ctrl-C, not even while it imports: it ends with this one."""
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _safe_path() -> Iterator[None]:
    """A server that is started meanwhile imports nothing from the working directory, where anything may lie."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _is_alive(reader: _Reader) -> bool:
    """Whether an idle process can still be used; one that was killed meanwhile is put away."""
    if not reader.connection.closed and not reader.process.is_alive():
        reader.stop()
    return not reader.connection.closed


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its pipe"
    if code >= 0:
        return f"ended with exit code {code}"
    known = -code in set(signal.Signals)
    return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
