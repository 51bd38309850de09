"""What can be recorded of a run, as plain data that a file can keep until MLflow has it."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class Record(BaseModel):
    """A thing to be sent.

    Attributes:
        once: names what may be recorded a single time; a resumed run that comes by again adds nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
    once: str | None = None


class Status(Record):
    """The run goes on, or has ended."""

    kind: Literal["status"] = "status"
    status: RunStatus
    time_ms: int


class Params(Record):
    """Settings, under names that MLflow takes."""

    kind: Literal["params"] = "params"
    values: dict[str, str]


class Tags(Record):
    """Tags, under names that MLflow takes; None removes one."""

    kind: Literal["tags"] = "tags"
    values: dict[str, str | None]


class Failure(Record):
    """Why the run has failed, or None for a run that goes on. A description that somebody gave the run stays."""

    kind: Literal["failure"] = "failure"
    reason: str | None


class Metrics(Record):
    """Numbers at a step, with the time at which they were measured."""

    kind: Literal["metrics"] = "metrics"
    values: dict[str, float]
    step: int
    time_ms: int


class File(Record):
    """A file, or a folder with all that is in it.

    Attributes:
        path: below the run's folder.
        folder: the folder among the run's artifacts; "" is their root.
    """

    kind: Literal["file"] = "file"
    path: str
    folder: str = ""


class Picture(Record):
    """A picture of a series, which MLflow shows with a slider over the steps.

    Attributes:
        path: of a .png, below the run's folder.
        key: name of the series.
        step: its place in the series.
        time_ms: when it was made.
    """

    kind: Literal["picture"] = "picture"
    path: str
    key: str
    step: int
    time_ms: int


def content_digest(hashes: Iterable[str]) -> str:
    """A data set's digest, as long as MLflow takes it, from the hashes of its cases in any order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()[:32]


class UsedDataset(Record):
    """Cases that the run learns from or is measured on.

    Attributes:
        name: of the data set.
        digest: of the content of the cases, at most 36 characters.
        source: the folder.
        context: what they are used for, e.g. training.
        cases: how many they are.
    """

    kind: Literal["dataset"] = "dataset"
    name: str
    digest: str
    source: str
    context: str
    cases: int


class Registration(Record):
    """The run's model, to be registered.

    Attributes:
        name: of the registered model.
        alias: that is to point to this version, or None.
    """

    kind: Literal["registration"] = "registration"
    name: str
    alias: str | None


AnyRecord = Annotated[
    Status | Params | Tags | Failure | Metrics | File | Picture | UsedDataset | Registration,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyRecord] = TypeAdapter(AnyRecord)


def parse_record(line: bytes) -> AnyRecord:
    """A record from the line that its ``model_dump_json`` made.

    Raises:
        ValueError: the line is none.
    """
    return _ADAPTER.validate_json(line)
