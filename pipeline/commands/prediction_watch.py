"""How a run that nobody watches can be watched: status.json, written every few seconds, and medseg.log."""

import datetime
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.files import write_json, writing_to

STATUS, LOG = "status.json", "medseg.log"
HEARTBEAT_SECONDS = 10.0
run_log = logging.getLogger("medseg.predictions")
run_log.propagate = False  # the console shows progress instead


def write_status(output: Path, state: str, counts: Mapping[str, int]) -> None:
    """Write status.json, by which a machine sees that the work goes on.

    Args:
        output: the folder of results.
        state: starting, running, done or stopped.
        counts: how far it is.

    Raises:
        OutputError: it cannot be written.
    """
    content: dict[str, Any] = {"state": state, "host": socket.gethostname(), "process": os.getpid()}
    with writing_to(output):
        write_json(output / STATUS, content | {"updated": _now()} | dict(counts))


@contextmanager
def heartbeat(output: Path, counts: Callable[[], Mapping[str, int]]) -> Iterator[None]:
    """Write status.json every few seconds while the block runs.

    Args:
        output: the folder of results.
        counts: called by a thread, for how far the work is.
    """
    end = threading.Event()

    def beat() -> None:
        while not end.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # what is wrong with the folder is said where results are written
                write_status(output, "running", counts())

    write_status(output, "running", counts())
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextmanager
def logging_to(output: Path) -> Iterator[None]:
    """Append what happens to medseg.log while the block runs, also the warnings of the whole package."""
    with writing_to(output):
        handler = _LogFile(output / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    loggers = (run_log, logging.getLogger("pipeline"))
    for logger in loggers:
        logger.addHandler(handler)
    run_log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk costs its lines, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over it; results that cannot be written say so."""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
