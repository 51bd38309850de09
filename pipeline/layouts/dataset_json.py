"""``dataset.json`` of the Medical Segmentation Decathlon, and of nnU-Net, which changed its labels and channels.

Decathlon: ``"labels": {"0": "background", "1": "anterior"}``, ``"modality": {"0": "MRI"}``, files listed.
nnU-Net: ``"labels": {"background": 0, "anterior": 1}``, ``"channel_names": {"0": "MRI"}``, files found by their names.
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationInfo, field_validator, model_validator

from pipeline.config.load import validate
from pipeline.errors import ConfigError, DatasetError
from pipeline.layouts.dataset import Dataset
from pipeline.layouts.json_file import read_json

FILE_NAME = "dataset.json"
IGNORE = "ignore"


class Listed(BaseModel):
    """A training case as listed, with paths relative to the data set."""

    model_config = ConfigDict(frozen=True)
    image: str
    label: str


class Description(BaseModel):
    """What dataset.json says, as far as it is used; it has many more keys, and none of them is an error.

    Attributes:
        name: of the data set.
        labels: name -> mask value, in the order of the values, without the background; None where it names none.
        modality: one name a channel.
        channel_names: what nnU-Net calls the modality.
        file_ending: of nnU-Net's files, e.g. ``.nii.gz``.
        training: listed pairs; empty where the files are to be found by their names.
        test: listed scans without a mask.
    """

    model_config = ConfigDict(frozen=True)
    name: str | None = None
    labels: dict[str, StrictInt] | None = None
    modality: tuple[StrictStr, ...] | None = None
    channel_names: tuple[StrictStr, ...] | None = None
    file_ending: StrictStr | None = None
    training: tuple[Listed, ...] = ()
    test: tuple[str, ...] = ()

    @field_validator("labels", mode="before")
    @classmethod
    def _structures(cls, given: object) -> object:
        if not isinstance(given, dict) or not given:
            return given
        if any(isinstance(value, list) for value in given.values()):
            raise ValueError("regions that consist of several values are not supported; name each mask value once")
        if IGNORE in given:
            raise ValueError(f"the label {IGNORE!r} of nnU-Net is not supported; replace it in the masks")
        return _without_background(_by_name(given))

    @field_validator("modality", "channel_names", mode="before")
    @classmethod
    def _in_order(cls, given: object, info: ValidationInfo) -> object:
        if not isinstance(given, dict):
            return given
        if not given or set(given) != {str(channel) for channel in range(len(given))}:
            raise ValueError(f"{info.field_name} must number the channels from 0 without gaps, found {list(given)}")
        return tuple(given[str(channel)] for channel in range(len(given)))

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        values = list((self.labels or {}).values())
        if len(set(values)) != len(values) or not all(0 < value < 2**16 for value in values):
            raise ValueError(f"labels must have distinct values between 1 and 65535, found {values}")
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """One name a channel; empty where it names none."""
        return self.modality or self.channel_names or ()


def read_description(root: Path) -> Description:
    """Read a data set's dataset.json; an empty description where there is none.

    Raises:
        DatasetError: all that is wrong with the file.
    """
    path = root / FILE_NAME
    if not path.exists():
        return Description()
    try:
        return validate(Description, read_json(path), str(path))
    except ConfigError as error:
        raise DatasetError(
            f"a {FILE_NAME} in the form of the Medical Segmentation Decathlon or nnU-Net",
            f"{path} with {error.found.strip()}",
            "Correct these keys, or remove the file and name the labels in data.labels.",
        ) from error


def described(root: Path, description: Description) -> Dataset:
    """A data set without cases yet, of which a description says all else that is known."""
    labels = description.labels or {}
    return Dataset(
        name=description.name or root.resolve().name,
        root=root,
        labels=labels,
        modalities=description.modalities,
        cases=(),
        declared=bool(labels),
        own_labels=labels,
        own_modalities=description.modalities,
    )


def _by_name(given: dict[str, object]) -> dict[str, object]:
    """Labels as name -> value, from either direction; the Decathlon's keys are the values, as text."""
    if not all(key.isdecimal() and isinstance(name, str) for key, name in given.items()):
        return given
    if len(set(given.values())) != len(given):
        raise ValueError(f"labels must have distinct names, found {list(given.values())}")
    return {str(name): int(key) for key, name in given.items()}


def _without_background(labels: dict[str, object]) -> dict[str, object]:
    structures = {name: value for name, value in labels.items() if value != 0}
    return dict(sorted(structures.items(), key=lambda item: item[1] if isinstance(item[1], int) else 0))
