"""Writes docs/configuration.md from the settings themselves: their types, defaults and descriptions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.base import section_in
from pipeline.config.load import Config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

This page is made by `python scripts/write_configuration_docs.py` from `pipeline/config/`; a test compares the two.

An experiment is a YAML file such as `configs/demo.yaml`. A key that is left out has its default; a key that does not
exist is an error. On the command line, `KEY=VALUE` with a dotted key changes a setting: `training.max_minutes=10`. A
table is replaced as a whole, as by `'data.labels={liver: 1, spleen: 2}'` (the shell needs the quotes); with the entry's
name behind its key, in that entry alone. Relative paths are relative to the YAML's folder, and on the command line to
the working directory. Axes are in RAS order (left-right, back-front, foot-head), whatever the order of the file.

Configurations of `medseg pretrain`, such as `configs/autoencoders/denoising.yaml`, have the section `autoencoder`, and
neither `evaluation` nor `training.foreground` and `training.loss`.
"""
NAMES = {"boolean": "true or false", "integer": "whole number", "string": "text"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        key: dotted, as on the command line.
        type: in words.
        default: as YAML, or "required".
        meaning: its description.
    """

    key: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Group:
    """A section: its dotted name (empty for the outermost), its description and the keys that it holds itself."""

    name: str
    meaning: str
    settings: list[Setting]


def all_groups() -> Iterator[Group]:
    """Every section of an experiment, then those that autoencoders alone have."""
    yield from groups(Config)
    yield from groups(AutoencoderConfig, "autoencoder")


def groups(section: type[BaseModel], name: str = "") -> Iterator[Group]:
    """Every section, each before those inside it."""
    fields = section.model_fields
    types = section.model_json_schema()["properties"]
    inner = {key: kind for key, field in fields.items() if (kind := section_in(field.annotation)) is not None}
    settings = [
        Setting(_join(name, key), _type(types[key], inner.get(key)), _default(field), _one_line(field.description))
        for key, field in fields.items()
        if key not in inner or field.annotation is not inner[key]
    ]
    yield Group(name, _one_line(section.__doc__), settings)
    for key, kind in inner.items():
        yield from groups(kind, _join(name, key))


def type_in_words(schema: dict[str, Any]) -> str:
    """What a JSON schema allows.

    Example:
        >>> type_in_words({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
        'number >= 0, < 1'
    """
    if "anyOf" in schema:
        return " or ".join(type_in_words(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return type_in_words({"enum": [schema["const"]]})
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in schema["enum"])
    if schema["type"] == "array":
        return _list_in_words(schema)
    if schema["type"] == "object":
        return f"{{name: {type_in_words(schema['additionalProperties'])}, ...}}"
    return _simple_in_words(schema)


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_table(group) for group in all_groups())])


def _list_in_words(schema: dict[str, Any]) -> str:
    """As YAML writes it, with types in the places of values."""
    if "prefixItems" in schema:
        return f"[{', '.join(type_in_words(item) for item in schema['prefixItems'])}]"
    return f"[{type_in_words(schema['items'])}, ...]"


def _simple_in_words(schema: dict[str, Any]) -> str:
    name = schema["format"] if schema.get("format") in ("path", "model") else NAMES.get(schema["type"], schema["type"])
    bounds = ", ".join(f"{sign} {schema[bound]:.10g}" for bound, sign in BOUNDS.items() if bound in schema)
    return f"{name} {bounds}".strip()


def _type(schema: dict[str, Any], section: type[BaseModel] | None) -> str:
    """In words; a section has a table of its own, and stands among the keys only where it may be null."""
    return type_in_words(schema) if section is None else "the section below or null"


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{json.dumps(field.get_default())}`"


def _table(group: Group) -> str:
    heading = [f"## {group.name}", "", group.meaning, ""] if group.name else []
    rows = [f"| `{each.key}` | {each.type} | {each.default} | {each.meaning} |" for each in group.settings]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else []
    return "\n".join([*heading, *table])


def _join(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _one_line(text: str | None) -> str:
    """A description as it stands in a table of Markdown."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "\\<")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
