"""``KEY=VALUE`` on the command line: what it changes in the settings of a file."""

from pathlib import Path
from typing import Any, get_args

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from yaml import YAMLError

from pipeline.config.base import ModelReference, section_in
from pipeline.errors import ConfigError

Kind = type[BaseModel]


def apply_override(override: str, settings: dict[str, Any], section: Kind) -> None:
    """Change nested settings by ``KEY=VALUE``.

    Args:
        override: a dotted key, and a value as YAML; a relative path in it is relative to the working directory.
        settings: are changed.
        section: what they are settings of.

    Raises:
        ConfigError: the key or the equals sign is missing, or the value is no YAML.
    """
    change = _parse(override)
    anchor_paths(change, section, Path.cwd())
    _merge(change, settings, section, keys=override.partition("=")[0].count(".") + 1)


def is_tracked(given: str) -> bool:
    """Whether a model or a run is named as one that MLflow keeps."""
    return given.startswith(("runs:/", "models:/"))


def anchor_paths(settings: dict[str, Any], section: Kind, base: Path) -> None:
    """Make the relative paths in a section's settings relative to a folder."""
    for name, field in section.model_fields.items():
        value, inner = settings.get(name), _section(section, name)
        if isinstance(value, dict) and inner is not None:
            anchor_paths(value, inner, base)
        elif isinstance(value, str) and _is_path(value, field.annotation):
            settings[name] = str(base / Path(value).expanduser())


def _is_path(value: str, annotation: Any) -> bool:
    """Whether a setting's value is a path: a model may also be one that MLflow keeps."""
    kinds = (annotation, *get_args(annotation))
    return Path in kinds or (ModelReference in kinds and not is_tracked(value))


def _parse(override: str) -> dict[str, Any]:
    key, equals, _ = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            "overrides of the form KEY=VALUE",
            repr(override),
            "Write for example training.max_minutes=10, without spaces.",
        )
    try:
        change = OmegaConf.to_container(OmegaConf.from_dotlist([override]))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError("overrides whose values are YAML", f"{override!r}: {error}", "Quote the value.") from error
    assert isinstance(change, dict)
    return {str(name): value for name, value in change.items()}


def _merge(change: dict[str, Any], settings: dict[str, Any], section: Kind | None, *, keys: int) -> None:
    """Put a change into settings: sections keep what it does not name, any other value is replaced as a whole.

    A table such as data.labels is a value. `data.labels={liver: 1}` replaces it; `data.labels.liver=1`, whose path goes
    on into it, replaces the one entry.

    Args:
        change: nested settings.
        settings: are changed.
        section: what both are settings of; None inside a table.
        keys: how many levels the change goes down by its path; what lies below is its value.
    """
    for name, value in change.items():
        inner, old = _section(section, name), settings.get(name)
        if isinstance(value, dict) and isinstance(old, dict) and (inner is not None or keys > 1):
            _merge(value, old, inner, keys=keys - 1)
        else:
            settings[name] = value


def _section(section: Kind | None, name: str) -> Kind | None:
    """The section of a name inside another; None where the name is no section."""
    field = section.model_fields.get(name) if section is not None else None
    return section_in(field.annotation) if field is not None else None
