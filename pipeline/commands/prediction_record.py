"""What a folder of predictions holds: which model made a case, how, from which files, and what was written.

``manifest.json`` has all of it when a command ends. While one runs, or after it was killed, the journal has a file for
each case that was begun since, so that processes that share a folder do not write each other's records.
"""

import datetime
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline import __version__
from pipeline.commands.prediction_files import DERIVED, case_files
from pipeline.commands.prediction_session import JOURNAL, SESSION_FILE, case_digest
from pipeline.config.inference import InferenceConfig
from pipeline.errors import ScanError
from pipeline.files import file_sha256, write_json
from pipeline.inference.batch import InputFile
from pipeline.inference.reading import content_sha256
from pipeline.manifest import Manifest, manifest_sha256

FILE_NAME = "manifest.json"
NO_MATTER = {
    *("series", "unpacked_gb", "device", "backend", "precision", "threads"),
    *("readers", "read_deadline_seconds", "reader_memory_gb"),
}
"""Settings that the mask of a scan does not depend on, but for rounding."""


class CaseRecord(BaseModel):
    """What is known of a case in the folder."""

    model_config = ConfigDict(frozen=True)
    input_sha256: str
    """Of the scan's file, or of all its files."""
    made_by: str
    """Hash of the version, the model and the settings that the mask depends on."""
    session: str = ""
    """Of the processes that made it."""
    device: str
    """Where the network ran: cpu or cuda."""
    backend: str = ""
    """What ran it: torch or openvino; "" in folders of older versions."""
    precision: str
    """Number format of the convolutions."""
    reasons: tuple[str, ...] = ()
    """Why its mask is to be reviewed."""
    failure: str = ""
    """Why there is no mask, where this session has tried."""
    files_sha256: dict[str, str]
    """Of each file in the case's folder; empty while they are being written."""


@dataclass(frozen=True)
class Ran:
    """Where and how the network ran, in the words of a `CaseRecord`."""

    device: str
    backend: str
    precision: str


class _Earlier(BaseModel):
    """The part of an earlier manifest that is read again."""

    cases: dict[str, CaseRecord]


class _Entry(BaseModel):
    """A file of the journal."""

    case: str
    record: CaseRecord


class PredictionRecord:
    """What an output folder holds, so that a case is kept only where nothing about it has changed.

    Args:
        output: the folder.
        manifest: the model.
        config: how it is run.
    """

    def __init__(self, output: Path, manifest: Manifest, config: InferenceConfig) -> None:
        self.output = output
        self._journal = output / JOURNAL
        self._head: dict[str, Any] = {
            "medseg_version": __version__,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "model": manifest.name,
            "model_sha256": manifest_sha256(manifest),
            "model_weights_sha256": manifest.weights_sha256,
            "labels": manifest.labels,
            "inference": config.model_dump(mode="json"),
        }
        self.made_by = _maker(self._head)
        self._cases: dict[str, CaseRecord] = {}
        self.read()

    def read(self) -> None:
        """Read what is known of the folder by now."""
        known = _read_manifest(self.output / FILE_NAME) | dict(_read_journal(self._journal))
        self._cases = {case: record for case, record in known.items() if (self.output / case).is_dir()}

    def known(self, case: str) -> CaseRecord | None:
        """What is known of a case by now, also by another process.

        Whoever compares files with it looks at the files first: a case is recorded before its first file is written.
        """
        entry = _read_entry(self._journal / f"{case_digest(case)}.json")
        if entry is not None:
            self._cases[case] = entry.record
        return self._cases.get(case)

    def holds(self, entry: InputFile) -> bool:
        """Whether the folder has this file's finished case, from the same code, model, settings and content, intact."""
        try:
            files = self._files(entry.case)
            known = self.known(entry.case)
            if known is None or known.made_by != self.made_by or not known.files_sha256 or files != known.files_sha256:
                return False
            return content_sha256(entry) == known.input_sha256
        except (OSError, ScanError):
            return False

    def owns(self, case: str) -> bool:
        """Whether this command wrote whatever results the case's folder holds.

        A mask that has changed since may be one that a person has corrected. Statistics and pictures follow from the
        mask, so that it does not matter whether they are as they were.
        """
        try:
            files = self._files(case)
        except OSError:
            return False
        if not files:
            return True
        known = self.known(case)
        if known is None or known.failure:  # of a case that failed, no file was left
            return False
        masks = {name: hashed for name, hashed in files.items() if name not in DERIVED}
        unfinished = not known.files_sha256
        return unfinished or all(hashed == known.files_sha256.get(name) for name, hashed in masks.items())

    def outcome_in(self, session: str, case: str) -> CaseRecord | None:
        """What a process of this session has made of a case; None where none has come to its end."""
        known = self.known(case)
        ended = known is not None and known.session == session and (known.files_sha256 or known.failure)
        return known if ended else None

    def reasons(self, case: str) -> tuple[str, ...]:
        """Why the mask of a finished case is to be reviewed."""
        return self._cases[case].reasons

    def cases(self) -> list[str]:
        """The cases that something is known of."""
        return sorted(self._cases)

    def finished(self) -> set[str]:
        """The cases that the folder holds results of."""
        return {case for case, record in self._cases.items() if record.files_sha256}

    def begin(self, case: str, input_sha256: str, *, session: str, ran: Ran) -> None:
        """Record that a case's files are about to be written: what an interruption leaves is then known as ours."""
        record = CaseRecord(
            input_sha256=input_sha256,
            made_by=self.made_by,
            session=session,
            device=ran.device,
            backend=ran.backend,
            precision=ran.precision,
            files_sha256={},
        )
        self._note(case, record)

    def finish(self, case: str, reasons: tuple[str, ...] = ()) -> None:
        """Record the files of a case that was begun."""
        update = {"files_sha256": self._files(case), "reasons": reasons}
        self._note(case, self._cases[case].model_copy(update=update))

    def fail(self, case: str, reason: str, *, session: str) -> None:
        """Record for the other processes that a case has failed; the manifest has no word of it."""
        nothing = {"input_sha256": "", "made_by": self.made_by, "device": "", "precision": "", "files_sha256": {}}
        self._note(case, CaseRecord(**nothing, session=session, failure=reason))

    def forget(self, case: str) -> None:
        """Drop a case whose files are gone; `write` then writes the manifest without it."""
        self._cases.pop(case, None)
        (self._journal / f"{case_digest(case)}.json").unlink(missing_ok=True)

    def write(self) -> None:
        """Write the manifest, whole or not at all."""
        cases = {
            case: record.model_dump(mode="json", exclude={"failure"})
            for case, record in sorted(self._cases.items())
            if not record.failure
        }
        write_json(self.output / FILE_NAME, {**self._head, "cases": cases})

    def clear_journal(self) -> None:
        """Remove the journal's records, once the manifest has them."""
        for path in self._journal.glob("*.json"):
            if path.name != SESSION_FILE:
                path.unlink()

    def _note(self, case: str, record: CaseRecord) -> None:
        self._cases[case] = record
        entry = _Entry(case=case, record=record)
        write_json(self._journal / f"{case_digest(case)}.json", entry.model_dump(mode="json"))

    def _files(self, case: str) -> dict[str, str]:
        """Hash of each result in a case's folder."""
        return {path.name: file_sha256(path) for path in case_files(self.output / case)}


def _read_manifest(path: Path) -> dict[str, CaseRecord]:
    """The cases of an earlier manifest; none where there is no manifest or a damaged one."""
    try:
        return _Earlier.model_validate_json(path.read_bytes()).cases
    except (OSError, ValueError):
        return {}


def _read_journal(journal: Path) -> list[tuple[str, CaseRecord]]:
    entries = [_read_entry(path) for path in sorted(journal.glob("*.json")) if path.name != SESSION_FILE]
    return [(entry.case, entry.record) for entry in entries if entry is not None]


def _read_entry(path: Path) -> _Entry | None:
    try:
        return _Entry.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _maker(head: dict[str, Any]) -> str:
    settings = {key: value for key, value in head["inference"].items() if key not in NO_MATTER}
    maker = [head["medseg_version"], head["model_sha256"], settings]
    return hashlib.sha256(json.dumps(maker, sort_keys=True).encode()).hexdigest()
