"""``model.json``: what a model is, what it needs, and where it came from; everything but the weights."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.base import Section
from pipeline.config.data import Code, FilesConfig, MaskConfig
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.load import validate
from pipeline.config.network import NetworkConfig
from pipeline.errors import ConfigError, ModelError
from pipeline.files import write_text
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.preprocessing.ranges import TrainingRanges

FILE_NAME, WEIGHTS = "model.json", "weights.safetensors"
GATE, ESTIMATE = "gate.safetensors", "estimate.safetensors"
FORMAT_VERSION: Literal[1] = 1
Part = Literal["train", "validation", "test", "unused"]


class Provenance(Section):
    """Where a model came from; names no patient and no case."""

    code_version: str
    """Version of this package."""
    commit: str | None
    """Git commit of the code, with "+changes" where the working tree had some; None outside a checkout."""
    created: str
    """UTC time, ISO 8601."""
    run_id: str | None
    """MLflow run that trained it, or the run's own id where no server had heard of it by then."""
    dataset: str
    """Name of the data set."""
    names_cases: bool = False
    """Whether the names of its cases may leave the machine, as tracking.log_case_names says."""
    dataset_labels: dict[str, int] = Field(default_factory=dict)
    """Labels that dataset.json named, empty where it named none; the model's differ where the settings name others."""
    dataset_modalities: tuple[str, ...] = ()
    """Modalities that dataset.json named, as above."""
    init_from: str | None = None
    """SHA-256 of the weights that training began with, where they are those of a model."""
    seed: int
    """Seed of the training."""
    epochs: int
    """Epochs trained."""
    seconds: float
    """Seconds trained, over all resumes."""
    precision: str
    """Number format of the convolutions in training."""
    threads: int
    """CPU threads in training."""


class ModelRecord(Section):
    """What ``model.json`` says of every model, whatever it was trained for."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    modalities: tuple[str, ...]
    """One name a channel."""
    files: FilesConfig = FilesConfig()
    """Where the files of a case lie in its data set, if the configuration said so."""
    channel_files: tuple[str, ...] = ()
    """Where each channel has a file of its own: the patterns of their names, without endings; empty for one file."""
    preprocessing: FittedPreprocessing
    network: NetworkConfig
    patch_size: tuple[int, ...]
    inference: InferenceConfig
    parts: dict[str, Part]
    """Content hash of each case of the data set, and its part of the split; what a user left out is unused."""
    weights_sha256: str
    provenance: Provenance

    @property
    def trained_on(self) -> frozenset[str]:
        """Content hashes of the cases that the weights have learnt from."""
        return frozenset(case for case, part in self.parts.items() if part == "train")


class Manifest(ModelRecord):
    """The content of ``model.json`` of a network that segments."""

    labels: dict[str, int] = Field(min_length=1)
    """Name and mask value of each structure; class n of the network is the n-th."""
    codes: dict[str, Code] = Field(default_factory=dict)
    """What labels are, as data.codes says it."""
    categories: dict[str, Code] = Field(default_factory=dict)
    """What kind of thing they are, as data.categories says it."""
    mask: MaskConfig = MaskConfig()
    """How the masks of its data set are coded, for evaluating it."""
    ranges: TrainingRanges | None = None
    """What the training cases were like; None of a model of an older version."""
    mirror_axes: tuple[int, ...]
    """Axes that training mirrored, and that test-time mirroring may use."""
    evaluation: EvaluationConfig
    temperature: float | None = Field(None, gt=0)
    """Of the network's probabilities, as its validation cases gave it; None where there were none."""
    gate_sha256: str | None = None
    """Of the file with the scan gate; None of a model without one."""
    estimate_sha256: str | None = None
    """Of the file with what predicts Dice; None of a model without it."""
    validation_dice: float | None
    """Mean Dice of the exported weights on the validation cases, without test-time mirroring and keep_largest, whatever
    the inference settings say. None where there were no such cases, or no structure in any of them."""

    @property
    def label_values(self) -> tuple[int, ...]:
        """Mask value of each class above 0, in the order of the classes."""
        return tuple(self.labels.values())


class AutoencoderManifest(ModelRecord):
    """The content of ``model.json`` of an autoencoder."""

    autoencoder: AutoencoderConfig
    """Kind and code; a model with this key is no model that segments."""
    bounds: tuple[float, float]
    """Between which most normalised intensities of the training scans lie."""
    validation: dict[str, float]
    """What the exported weights came to on the validation scans, by metric; empty where there were none."""


def write_manifest(folder: Path, manifest: ModelRecord) -> None:
    """Write ``model.json`` into a model's folder."""
    write_text(folder / FILE_NAME, _as_text(manifest))


def manifest_sha256(manifest: ModelRecord) -> str:
    """SHA-256 of ``model.json`` as `write_manifest` writes it; the weights' hash in it makes it one of the model."""
    return hashlib.sha256(_as_text(manifest).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read ``model.json`` of a network that segments.

    Raises:
        ModelError: the folder holds none, one of an autoencoder, or one that this version does not understand.
    """
    found = read_any_manifest(folder)
    if isinstance(found, Manifest):
        return found
    raise ModelError(
        "a model that segments, as medseg train writes it",
        f"an autoencoder in {folder}",
        "Give another model; docs/autoencoders.md says what this one is for.",
    )


def read_autoencoder_manifest(folder: Path) -> AutoencoderManifest:
    """Read ``model.json`` of an autoencoder.

    Raises:
        ModelError: the folder holds none, one of a network that segments, or one that this version does not understand.
    """
    found = read_any_manifest(folder)
    if isinstance(found, AutoencoderManifest):
        return found
    raise ModelError(
        "an autoencoder, as medseg pretrain writes it",
        f"a model that segments in {folder}",
        "Give another model; this one is for medseg predict and medseg evaluate.",
    )


def read_any_manifest(folder: Path) -> Manifest | AutoencoderManifest:
    """Read ``model.json``, whatever the model was trained for.

    Raises:
        ModelError: the folder holds none, or one that this version does not understand.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        inner = folder / "model"
        remedy = f"Give {inner}." if (inner / FILE_NAME).exists() else "Give the folder that training named."
        raise ModelError(f"a model folder with {FILE_NAME}", f"none in {folder}", remedy) from error
    content = _parse(text, path)
    try:
        if isinstance(content, dict) and "autoencoder" in content:
            return validate(AutoencoderManifest, content, str(path))
        return validate(Manifest, content, str(path))
    except ConfigError as error:
        raise ModelError(
            f"a {FILE_NAME} of format version {FORMAT_VERSION}",
            error.found.strip(),
            "Use the version of medseg that wrote it.",
        ) from error


def _as_text(manifest: ModelRecord) -> str:
    optional = ("temperature", "gate_sha256", "estimate_sha256")
    without = {name for name in optional if getattr(manifest, name, None) is None}  # as older versions wrote it
    return manifest.model_dump_json(indent=2, exclude=without) + "\n"


def _parse(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelError("valid JSON", f"{path}, which does not parse: {error}", "Copy the model again.") from error
