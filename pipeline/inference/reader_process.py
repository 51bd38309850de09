"""What runs inside a reader process, and how a message passes through its pipe.

A process imports this file and what the function needs, or is forked from one that has, so that it starts fast.
"""

import os
import pickle
import resource
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import ScanError, UserError
from pipeline.inference.memory import BYTES_PER_GB

READY = "ready"
"""The first message of a process, sent once it has imported the function."""


LEAST_GB = 1.0
"""Less than this is no limit to set: a process needs some of it before it reads anything."""
OOM_SCORE = Path("/proc/self/oom_score_adj")
OOM_SCORE_OF_READERS = 500
"""Added to a process's share of the memory, in thousandths, when the kernel chooses what to kill (proc(5))."""


@dataclass(frozen=True)
class Limits:
    """What a call may take.

    Attributes:
        deadline_seconds: until it is killed.
        memory_gb: private memory.
        is_scarce: whether the machine has less memory free than the settings would allow.
    """

    deadline_seconds: float
    memory_gb: float
    is_scarce: bool = False

    def share_of(self, free_bytes: int | None, readers: int) -> "Limits":
        """The limits where memory is free for so many readers, and for the main process, which takes what they read.

        Args:
            free_bytes: None where it is not known.
            readers: processes that may read at once.
        """
        if free_bytes is None:
            return self
        share_gb = max(LEAST_GB, free_bytes / BYTES_PER_GB / (readers + 1))
        return self if share_gb >= self.memory_gb else replace(self, memory_gb=share_gb, is_scarce=True)


class DisconnectedError(OSError):
    """The process at the other end of the pipe is gone."""


def serve(connection: Connection, function: bytes, limits: Limits, *, environment: Mapping[str, str]) -> None:
    """Call the function for every item that arrives, until the main process closes the pipe or is gone.

    Args:
        connection: to the main process.
        function: pickled.
        limits: of each call.
        environment: that of the main process by now, which this one need not have been started with.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the main process ends this one
    _offer_to_be_killed()
    _limit_memory(limits.memory_gb)
    call = pickle.loads(function)  # here, so that its imports come under the limit
    try:
        send(connection, READY)
        while True:
            _answer(connection, call, receive(connection), limits=limits)
    except (EOFError, OSError):
        return


def _answer(connection: Connection, call: Callable[[Any], Any], item: Any, *, limits: Limits) -> None:
    started = time.monotonic()
    try:
        value = call(item)
        send(connection, (value, None, time.monotonic() - started))
    except DisconnectedError:
        raise
    except BaseException as error:  # SystemExit too: nothing that a call raises may end the process
        send(connection, (None, _explain(error, limits), time.monotonic() - started))


def _explain(error: BaseException, limits: Limits) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return ScanError(
            f"a scan that can be read within {limits.memory_gb:.3g} GB of memory",
            f"one that needs more ({str(error) or 'out of memory'})",
            f"Look whether its header is damaged, or {_more_memory(limits)}.",
        )
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    found = f"an unexpected {type(error).__name__}: {text} ({Path(where.filename).name}, line {where.lineno})"
    return ScanError("a scan that can be read", found, "Export it again; if it is sound, report this fault.")


def _more_memory(limits: Limits) -> str:
    if limits.is_scarce:
        return "take a machine with more memory, or fewer inference.readers"
    return "raise inference.reader_memory_gb"


def _offer_to_be_killed() -> None:
    """Where memory runs out after all, let the kernel take this process, which costs a scan, and not the main one."""
    with suppress(OSError):
        OOM_SCORE.write_text(str(OOM_SCORE_OF_READERS))


def _limit_memory(memory_gb: float) -> None:
    """Let allocations beyond the limit fail with MemoryError.

    RLIMIT_DATA counts private writable memory, mapped blocks such as NumPy's large arrays included (Linux 4.7, see
    setrlimit(2)). RLIMIT_AS would also count libraries and address space that threads reserve and never use, gigabytes
    on a machine of many cores, and so refuse scans that fit. Other systems may not enforce either.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(memory_gb * BYTES_PER_GB)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def send(connection: Connection, message: Any) -> None:
    """Send a message, its arrays straight from where they lie (pickle protocol 5): a scan is not copied once more."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    try:
        connection.send((len(buffers), head))
        for buffer in buffers:
            connection.send_bytes(buffer.raw())
    except OSError as error:
        raise DisconnectedError from error


def receive(connection: Connection) -> Any:
    """Wait for a message.

    Raises:
        EOFError: the process at the other end is gone.
        OSError: it died in the middle of a message.
    """
    count, head = connection.recv()
    buffers = [bytearray(connection.recv_bytes()) for _ in range(count)]  # writable, as arrays expect
    return pickle.loads(head, buffers=buffers)
