"""What runs inside a reader process, and how a message passes through its pipe.

A process imports this file and what the function needs, no more, so that it starts fast.
"""

import pickle
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import ScanError, UserError

BYTES_PER_GB = 1e9
READY = "ready"
"""The first message of a process, sent once it has imported the function."""


@dataclass(frozen=True)
class Limits:
    """What a call may take: seconds, and GB of private memory."""

    deadline_seconds: float
    memory_gb: float


class DisconnectedError(OSError):
    """The process at the other end of the pipe is gone."""


def serve(connection: Connection, function: bytes, limits: Limits) -> None:
    """Call the function for every item that arrives, until the main process closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the main process ends this one
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
            f"a scan that can be read within {limits.memory_gb:g} GB of memory",
            f"one that needs more ({str(error) or 'out of memory'})",
            "Look whether its header is damaged, or raise inference.reader_memory_gb.",
        )
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    found = f"an unexpected {type(error).__name__}: {text} ({Path(where.filename).name}, line {where.lineno})"
    return ScanError("a scan that can be read", found, "Export it again; if it is sound, report this fault.")


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
