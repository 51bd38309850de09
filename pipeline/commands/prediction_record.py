"""``manifest.json`` in a folder of predictions: which model made them, how, and from which files."""

import datetime
import json
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.config.inference import InferenceConfig
from pipeline.files import file_sha256, write_json
from pipeline.inference.batch import InputFile
from pipeline.manifest import Manifest

FILE_NAME = "manifest.json"
STATISTICS = "statistics.json"
SPEED_ONLY = {"device", "precision", "threads", "readers", "read_deadline_seconds", "reader_memory_gb"}
"""Settings that a mask does not depend on, but for rounding."""


class PredictionRecord:
    """What an output folder holds, so that a case is kept only where nothing about it has changed.

    Args:
        output: the folder.
        manifest: the model.
        config: how it is run.
    """

    def __init__(self, output: Path, manifest: Manifest, config: InferenceConfig) -> None:
        self.path = output / FILE_NAME
        self.content: dict[str, Any] = {
            "medseg_version": __version__,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "model": manifest.name,
            "model_weights_sha256": manifest.weights_sha256,
            "labels": manifest.labels,
            "inference": config.model_dump(mode="json"),
            "input_sha256": {},
        }
        self._earlier = _same_maker(_read(self.path), self.content)

    def holds(self, entry: InputFile) -> bool:
        """Whether the folder has this file's finished case, from the same model, settings and content."""
        known = self._earlier.get(entry.case)
        if known is None or not (self.path.parent / entry.case / STATISTICS).exists():
            return False
        try:
            return file_sha256(entry.path) == known
        except OSError:
            return False

    def keep(self, case: str) -> None:
        """Take over a case of the earlier record."""
        self.content["input_sha256"][case] = self._earlier[case]

    def add(self, case: str, sha256: str) -> None:
        """Record a finished case and write the file."""
        self.content["input_sha256"][case] = sha256
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_json(self.path, self.content)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _same_maker(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """The input hashes of an earlier record, or none where another model or other settings made its masks."""
    same = all(earlier.get(key) == now[key] for key in ("model_weights_sha256", "labels"))
    if not same or _of_masks(earlier.get("inference")) != _of_masks(now["inference"]):
        return {}
    return dict(earlier.get("input_sha256") or {})


def _of_masks(inference: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (inference or {}).items() if key not in SPEED_ONLY}
