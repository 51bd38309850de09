"""What has been recorded of a run and is on its way to MLflow.

The file ``outbox.jsonl`` is only ever added to, a record a line; ``sent.json`` says how many of its lines are done
with, and which of these are late: put aside because they could not be sent, so that others need not wait for them. A
record is on disk before the caller goes on, so that neither a server that is away nor the end of the process loses
it. A record may be sent twice, where the process ends between the sending and the note of it; MLflow takes metrics of
the same time and step, parameters and tags of the same value, and files of the same name as one.
"""

import json
import logging
import os
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import write_json
from pipeline.tracking.records import AnyRecord, RunStatus, Tags, parse_record

log = logging.getLogger(__name__)
FILE, SENT = "outbox.jsonl", "sent.json"


@dataclass(frozen=True, eq=False)
class Waiting:
    """A record that has not arrived.

    Attributes:
        record: what is to be sent.
        line: its place in the file, from 0; None where it is in memory alone.
    """

    record: AnyRecord
    line: int | None


class Outbox:
    """Records in the order in which they are to be sent; in memory alone until `keep_in` gives them a folder.

    Any thread may use it.

    Attributes:
        last_steps: the newest step of each metric.
        last_status: the newest status of the run.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: deque[Waiting] = deque()
        self._late: list[Waiting] = []
        self._once: set[str] = set()
        self._folder: Path | None = None
        self._size = self._lines = self._done = 0
        self.last_steps: dict[str, int] = {}
        self.last_status: RunStatus | None = None

    def keep_in(self, folder: Path) -> None:
        """Go on from what a folder holds, and keep everything there from now on.

        What was added before and has not been sent comes after what the folder holds.

        Raises:
            OSError: the folder cannot be written to.
        """
        with self._lock:
            before, self._waiting, self._late = [*self._late, *self._waiting], deque(), []
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = folder
            self._done, late = _read_sent(folder / SENT)
            lines = _whole_lines(folder / FILE)
            self._size, self._lines = sum(len(line) for line in lines), len(lines)
            for number, record in enumerate(map(_parse, lines)):
                self._note(record)
                if number in late:
                    self._late.append(Waiting(record, number))
                elif number >= self._done:
                    self._waiting.append(Waiting(record, number))
            for each in before:
                self._append(each.record)

    def add(self, record: AnyRecord, *, volatile: bool = False) -> bool:
        """Add a record, unless its ``once`` says that it is there already; returns whether it was added.

        Args:
            record: what is to be sent.
            volatile: where it cannot be kept on disk, keep it in memory.

        Raises:
            OSError: it cannot be kept on disk; nothing has been added then.
        """
        with self._lock:
            if record.once is not None and record.once in self._once:
                return False
            self._append(record, volatile=volatile)
            self._note(record)
            return True

    def next(self, count: int) -> list[AnyRecord]:
        """The first records that wait to be sent; they go on waiting."""
        with self._lock:
            return [self._waiting[index].record for index in range(min(count, len(self._waiting)))]

    def sent(self, count: int) -> None:
        """The first ``count`` records have arrived, or will never be taken."""
        with self._lock:
            on_disk = sum(self._waiting.popleft().line is not None for _ in range(count))
            self._done += on_disk
            if on_disk:  # what is in memory alone may be there because the disk is full
                self._write_sent()

    def put_aside(self) -> None:
        """The first record is late: those behind it come first."""
        with self._lock:
            self._late.append(self._waiting[0])
            self.sent(1)

    def late(self) -> list[Waiting]:
        """The records that were put aside, in order."""
        with self._lock:
            return list(self._late)

    def late_sent(self, each: Waiting) -> None:
        """A record that was put aside has arrived, or will never be taken."""
        with self._lock:
            self._late.remove(each)
            if each.line is not None:
                self._write_sent()

    def __len__(self) -> int:
        """How many records wait to be sent, late ones included."""
        with self._lock:
            return len(self._waiting) + len(self._late)

    def _note(self, record: AnyRecord) -> None:
        if record.once is not None:
            self._once.add(record.once)
        if record.kind == "status":
            self.last_status = record.status
        if record.kind == "metrics":
            for name in record.values:
                self.last_steps[name] = record.step

    def _append(self, record: AnyRecord, *, volatile: bool = False) -> None:
        line = None
        if self._folder is not None:
            try:
                line = self._write(self._folder / FILE, record.model_dump_json().encode() + b"\n")
            except OSError:
                if not volatile:
                    raise
        self._waiting.append(Waiting(record, line))

    def _write(self, path: Path, line: bytes) -> int:
        """Add a line after those that are whole: what an interruption or a full disk left of one is cut off first."""
        with path.open("ab") as stream:
            stream.truncate(self._size)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._size += len(line)
        self._lines += 1
        return self._lines - 1

    def _write_sent(self) -> None:
        if self._folder is not None:
            late = [each.line for each in self._late if each.line is not None]
            write_json(self._folder / SENT, {"records": self._done, "late": late})


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file but for what follows the last line end."""
    if not path.exists():
        return []
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]


def _parse(line: bytes) -> AnyRecord:
    """A record; nothing to be sent in place of one that is damaged, because a run does not end for its tracking."""
    try:
        return parse_record(line)
    except ValueError:
        log.warning("a line of %s is damaged and is not sent", FILE)
        return Tags(values={})


def _read_sent(path: Path) -> tuple[int, frozenset[int]]:
    """How many lines are done with, and which of them are late."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        return int(written["records"]), frozenset(written.get("late", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, frozenset()  # all are sent again, and taken as those that are there
