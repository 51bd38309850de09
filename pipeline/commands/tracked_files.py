"""What MLflow gets of a training run beside its settings and metrics: its data, pictures, tables and model."""

import importlib.metadata
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.augmentation.sample import Sample
from pipeline.commands import run_folder
from pipeline.commands.dataset import CheckedDataset
from pipeline.commands.run_folder import RunFolder
from pipeline.config.tracking import TrackingConfig
from pipeline.errors import reason_of
from pipeline.figures import write_preview
from pipeline.files import atomic_path, write_json, write_text
from pipeline.geometry import upright_affine
from pipeline.manifest import Part
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.labels import IGNORED
from pipeline.report.overlays import overlay_png
from pipeline.report.plots import DrawHistory, save_figure
from pipeline.samples.cache import StoredCase
from pipeline.scan import Scan
from pipeline.tracking.models import HISTORY, write_pyfunc
from pipeline.tracking.records import UsedDataset, content_digest
from pipeline.tracking.run import TrackedRun
from pipeline.tracking.sending import MODEL
from pipeline.training.segmentation import SegmentationObjective
from pipeline.training.validation import predict_scores

log = logging.getLogger(__name__)
SHOWN = 4
"""Patches and validation cases that are drawn."""
CONTEXTS: dict[Part, str] = {"train": "training", "validation": "validation", "test": "testing"}
IMAGE_AXES = 3
"""Of the patch of an image, the channels included."""
TABLE = "validation_cases.json"


def used_datasets(checked: CheckedDataset) -> list[UsedDataset]:
    """The cases of each part as MLflow data sets; the digest is of their content."""
    used = []
    for part, context in CONTEXTS.items():
        names = checked.names(part)
        if names:
            digest = content_digest(checked.hashes[name] for name in names)
            name, source = checked.dataset.name, str(checked.dataset.root.resolve())
            used.append(UsedDataset(name=name, digest=digest, source=source, context=context, cases=len(names)))
    return used


@dataclass(frozen=True)
class Pictures:
    """Pictures of a run as it goes on; they name no case, and none that cannot be drawn ends the run.

    Attributes:
        folder: the run's.
        run: in MLflow.
        labels: the structures' names, in the order of the classes above 0.
        fitted: how cases are prepared.
    """

    folder: RunFolder
    run: TrackedRun
    labels: list[str]
    fitted: FittedPreprocessing

    @property
    def classes(self) -> dict[str, int]:
        """Class of each structure."""
        return {name: number for number, name in enumerate(self.labels, 1)}

    def draw_patches(self, samples: list[Sample]) -> None:
        """Augmented patches as the network sees them, with the outlines of the mask."""
        for place, sample in enumerate(samples):
            path = self.folder.figures / f"patch_{place}.png"
            with decoration():
                image, labels = (as_volume(sample[name].numpy()) for name in ("image", "labels"))
                scan = self._scan(image, self.fitted.prepared_spacing_mm)
                write_preview(path, scan, labels[0].astype(np.uint8), labels=self.classes)
                self.run.log_file(path, "figures")

    def draw_validation(self, network: nn.Module, objective: SegmentationObjective, epoch: int) -> None:
        """The same validation cases each time, with their masks and what the network makes of them now."""
        for place, case in enumerate(objective.validation.cases[:SHOWN]):
            path = self.folder.figures / "validation" / f"case_{place}_epoch_{epoch:04d}.png"
            with decoration():
                scores = predict_scores(network, case.stored, objective.validation, compute=objective.compute)
                self._draw_overlay(path, case.stored, scores.argmax(0).astype(np.uint8))
                self.run.log_picture(path, f"validation case {place}", epoch)

    def _draw_overlay(self, path: Path, case: StoredCase, predicted: NDArray[np.uint8]) -> None:
        spacing_mm = case.trail.prepared_spacing_mm
        labels = np.array(case.labels())
        inside = labels != IGNORED
        image, truth = self._scan(case.image(), spacing_mm), self._scan(np.where(inside, labels, 0)[None], spacing_mm)
        predicted = np.where(inside, predicted, 0)
        with atomic_path(path) as partial:
            partial.write_bytes(overlay_png(predicted, truth, labels=self.classes, scan=image))

    def _scan(self, array: NDArray, spacing_mm: tuple[float, ...]) -> Scan:
        """An array on a prepared grid."""
        return Scan(np.array(array), upright_affine(spacing_mm, self.fitted.slice_axis), Path(), self.fitted.unit)


def is_due(validations: int, *, finished: bool) -> bool:
    """After 1, 2, 4, 8 ... validations and the last, so that a long run has few pictures and a short one some."""
    return finished or validations & (validations - 1) == 0


def draw_curves(folder: RunFolder, run: TrackedRun, figure_of: DrawHistory) -> None:
    """How the training went over the epochs, as a picture and as a drawing."""
    rows = run_folder.read_rows(folder.history)
    for suffix in (".png", ".svg"):
        path = folder.figures / f"learning_curves{suffix}"
        with decoration():
            save_figure(figure_of(rows), path)
            run.log_file(path, "figures")


def as_volume(patch: NDArray) -> NDArray:
    """A patch of an image (C, I, J) as a volume of one slice; one of a volume as it is."""
    return patch[..., None] if patch.ndim == IMAGE_AXES else patch


@contextmanager
def decoration() -> Iterator[None]:
    """A picture that cannot be drawn is a warning, but a full disk is not the picture's fault."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        log.warning("a picture of the run could not be drawn: %s", reason_of(error))


def log_results(folder: RunFolder, run: TrackedRun, config: TrackingConfig, *, names_cases: bool) -> None:
    """The model, which MLflow can load and register, and the tables."""
    extras = folder.place.outbox / "pyfunc"
    shutil.rmtree(extras, ignore_errors=True)
    history = write_pyfunc(extras, run.run_id)
    run.log_file(extras, MODEL)
    log_model_files(folder, run)
    table = _write_case_table(folder, names_cases=names_cases)
    run.log_file(table)
    tables = [{"path": table.name, "type": "table"}]
    run.set_tags({HISTORY: history, "mlflow.loggedArtifacts": json.dumps(tables)})
    if config.register_as is not None:
        run.register_model(config.register_as, config.alias)


def log_model_files(folder: RunFolder, run: TrackedRun) -> None:
    """The model's files, the history, which weights it began with, and the versions of all packages."""
    packages = folder.place.outbox / "packages.txt"
    write_text(packages, "\n".join(_packages()) + "\n")
    run.log_file(folder.model, MODEL)
    for path in (folder.history, packages, folder.taken_over):
        if path.exists():
            run.log_file(path)


@cache
def _packages() -> list[str]:
    found = {f"{each.metadata['Name']}=={each.version}" for each in importlib.metadata.distributions()}
    return sorted(found, key=str.lower)


def _write_case_table(folder: RunFolder, *, names_cases: bool) -> Path:
    """Dice of each validation case over the epochs, as a table of MLflow; by number where names are not to be told."""
    rows = run_folder.read_rows(folder.validation)
    names = list(dict.fromkeys(row["case"] for row in rows))
    shown = {name: name if names_cases else f"case {number}" for number, name in enumerate(names)}
    data = [
        [int(row["epoch"]), shown[row["case"]], row["label"], round(float(row["dice"]), 4) if row["dice"] else None]
        for row in rows
    ]
    path = folder.place.outbox / TABLE
    write_json(path, {"columns": run_folder.VALIDATION, "data": data})
    return path
