"""Several processes that predict into one folder: they share the cases, and none disturbs another.

A process holds a lock of its own as long as it works, and one for each case that it has begun. Whatever ends a process
frees its locks, so that nobody waits for the dead.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import OutputError
from pipeline.files import PARTIAL, write_json, writing_to

JOURNAL = ".medseg"
"""The folder in the output that processes share while they work; the last one removes it."""
SESSION_FILE = "session.json"
LOCK = ".lock"
PATIENCE_SECONDS = 5.0
log = logging.getLogger(__name__)


class Session:
    """What the processes have in common that work on a folder at one time.

    Attributes:
        journal: a folder for what they tell each other.
        name: the same for all of them, and another one at any other time.
        is_first: whether this process was the first, as far as `starting` has found out.
    """

    def __init__(self, output: Path) -> None:
        self.journal = output / JOURNAL
        self.name = ""
        self.is_first = False
        self._own = _lock(self.journal / f"process-{uuid.uuid4().hex}{LOCK}")
        self._door = _lock(self.journal / f"door{LOCK}")

    @contextmanager
    def starting(self, work: str) -> Iterator[None]:
        """Join; no other process joins or leaves while the block runs.

        Args:
            work: what is to be done; processes that work at one time must do the same.

        Raises:
            OutputError: others are at work on something else.
        """
        with self._inside():
            others = self._others()
            self.name, self.is_first = (_name_of(self.journal, work), False) if others else (uuid.uuid4().hex, True)
            if self.is_first:
                write_json(self.journal / SESSION_FILE, {"name": self.name, "work": work})
            self._own.acquire()
            yield

    @property
    def has_joined(self) -> bool:
        """Whether `starting` has succeeded."""
        return self._own.is_locked

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Leave when the block ends, and tidy up where this process was the last."""
        with self._inside():
            try:
                yield
            finally:
                self._own.release()
            if not self._others():
                self._tidy()
        with suppress(OSError):  # another process has joined meanwhile
            self.journal.rmdir()

    def claim(self, case: str) -> FileLock | None:
        """The lock of a case, held; None while another process works on it."""
        lock = _lock(self.journal / (case_digest(case) + LOCK))
        with writing_to(self.journal.parent):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return None
        return lock

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Let one process at a time join, plan or leave; it is said if another one takes long."""
        try:
            self._door.acquire(timeout=PATIENCE_SECONDS)
        except Timeout:
            log.warning("waiting for another medseg predict, which plans its work in %s", self.journal.parent)
            self._door.acquire()
        try:
            yield
        finally:
            self._door.release()

    def _others(self) -> list[Path]:
        """The locks of other processes that are alive."""
        found = self.journal.glob(f"process-*{LOCK}")
        return [path for path in found if path != Path(self._own.lock_file) and _is_held(path)]

    def _tidy(self) -> None:
        """Empty the journal; who waits for a lock whose file is gone makes a new one."""
        with suppress(OSError):  # where the file system keeps a file that is open, it is empty, and stays
            for path in self.journal.iterdir():
                path.unlink(missing_ok=True)


def case_digest(case: str) -> str:
    """What files of a case are called in the journal: as short whatever its name is."""
    return hashlib.sha256(case.encode()).hexdigest()[:24]


def remove_partial_files(folder: Path) -> None:
    """Remove what a process that was killed had begun to write in a folder."""
    for path in folder.glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def _name_of(journal: Path, work: str) -> str:
    content = json.loads((journal / SESSION_FILE).read_text(encoding="utf-8"))
    if content["work"] != work:
        raise OutputError(
            "an OUTPUT that no other medseg predict is at work on, unless with the same model, settings and INPUT",
            f"{journal.parent}, where another one is running with others",
            "Wait for its end, or choose another OUTPUT.",
        )
    return str(content["name"])


def _lock(path: Path) -> FileLock:
    return FileLock(path, mode=0o666, thread_local=False)  # of any account, and given free by any thread


def _is_held(path: Path) -> bool:
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    path.unlink(missing_ok=True)
    return False
