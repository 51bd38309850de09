"""Reading a configuration: YAML, overrides, and every problem of a file in one message."""

from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from pipeline.config.estimate import EstimateConfig
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.experiment import Experiment
from pipeline.config.gate import GateConfig
from pipeline.config.overrides import anchor_paths, apply_override
from pipeline.config.pretraining import PretrainingConfig
from pipeline.config.training import TrainingConfig
from pipeline.errors import ConfigError
from pipeline.wording import count_of

S = TypeVar("S", bound=BaseModel)


class Config(Experiment):
    """An experiment: everything that `medseg train` needs to know."""

    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    estimate: EstimateConfig = EstimateConfig()


def load_config(path: Path, overrides: list[str]) -> Config:
    """Read a configuration.

    Args:
        path: a YAML file; relative paths in it are relative to its folder.
        overrides: ``KEY=VALUE`` with dotted keys; relative paths in them are relative to the working directory.

    Raises:
        ConfigError: all problems of the file and the overrides at once.
    """
    return _load(Config, path, overrides)


def load_pretraining(path: Path, overrides: list[str]) -> PretrainingConfig:
    """Read a configuration of `medseg pretrain`; as `load_config`."""
    return _load(PretrainingConfig, path, overrides)


def load_any(path: Path, overrides: list[str]) -> Config | PretrainingConfig:
    """Read a configuration of `medseg train`, or of `medseg pretrain`; as `load_config`.

    Settings of ``autoencoder``, in the file or among the overrides, tell the latter.
    """
    named = {*_read_yaml(path), *(override.split(".")[0] for override in overrides)}
    return load_pretraining(path, overrides) if "autoencoder" in named else load_config(path, overrides)


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """Turn ``["training.seed=1"]`` into ``{"training": {"seed": 1}}``, as `apply_override` reads it.

    Raises:
        ConfigError: for an entry without a key or without an equals sign, or a value that is no YAML.
    """
    changes: dict[str, Any] = {}
    for override in overrides:
        apply_override(override, changes, Config)
    return changes


def validate(kind: type[S], settings: Any, source: str) -> S:
    """Make a section from plain settings.

    Raises:
        ConfigError: with a line for every problem, under the name of the source.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        lines = [f"  {_dotted(each)}: {reason}" for each in error.errors() for reason in _explain(each).splitlines()]
        raise ConfigError(
            f"valid settings in {source}",
            f"{count_of(len(lines), 'problem')}:\n" + "\n".join(lines) + "\n",
            "Correct these keys; docs/configuration.md lists every key with its meaning.",
        ) from error


def dump_yaml(config: BaseModel) -> str:
    """The configuration, every key included, as YAML that `load_config` reads."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


def _load(kind: type[S], path: Path, overrides: list[str]) -> S:
    settings = _read_yaml(path)
    anchor_paths(settings, kind, path.resolve().parent)
    for override in overrides:
        apply_override(override, settings, kind)
    return validate(kind, _interpolate(settings, path), str(path))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(
            "a configuration file", f"{path}: {reason}", "Check the path; configs/ has examples."
        ) from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError("a YAML file", f"{path}, which does not parse: {error}", "Mend its syntax.") from error
    if not isinstance(settings, dict) or not settings:
        raise ConfigError("keys and values", f"{path}, which holds none", "Start from a file in configs/.")
    return {str(key): value for key, value in settings.items()}


def _interpolate(settings: dict[str, Any], path: Path) -> Any:
    """Settings with what ``${...}`` refers to in its place."""
    try:
        return OmegaConf.to_container(OmegaConf.create(settings), resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("settings that can be put together", f"{path}: {reason}", "Correct the value.") from error


def _dotted(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"]) or "settings"


def _explain(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "is no setting; check the spelling"
    if problem["type"] == "missing":
        return "is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return message if problem["type"] == "value_error" else f"{message}, found {problem['input']!r}"
