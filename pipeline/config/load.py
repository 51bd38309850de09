"""Reading a configuration: YAML, overrides, and every problem of a file in one message."""

from pathlib import Path
from typing import Any, Self, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError, model_validator
from yaml import YAMLError

from pipeline import sizes
from pipeline.config.augmentation import IMAGES_ALONE, AugmentationConfig
from pipeline.config.base import Section, refuse
from pipeline.config.cache import CacheConfig
from pipeline.config.data import DataConfig
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.config.overrides import anchor_paths, apply_override
from pipeline.config.preprocessing import PreprocessingConfig
from pipeline.config.tracking import TrackingConfig
from pipeline.config.training import TrainingConfig
from pipeline.errors import ConfigError
from pipeline.wording import count_of

S = TypeVar("S", bound=BaseModel)


class Config(Section):
    """An experiment: everything that `medseg train` needs to know."""

    name: str
    """Name of the experiment; runs are written to runs/<name>."""
    data: DataConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    cache: CacheConfig = CacheConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._dimension_problems(), *self._augmentation_problems()]
        refuse(problems or self._size_problems())
        return self

    def _dimension_problems(self) -> list[str]:
        problems, dimensions = [], self.network.dimensions
        if len(self.training.patch_size) != dimensions:
            problems.append(
                f"training.patch_size needs {dimensions} entries, as network.dimensions says, "
                f"found {self.training.patch_size}"
            )
        if any(axis not in range(sizes.VOLUME) for axis in self.augmentation.mirror_axes):
            problems.append(
                f"augmentation.mirror_axes must be axes of a scan, from 0 to 2, found {self.augmentation.mirror_axes}"
            )
        return problems

    def _augmentation_problems(self) -> list[str]:
        """A transform without an effect would be believed to have one."""
        useless = IMAGES_ALONE if self.network.dimensions == 3 else ()
        return [
            f"augmentation.{name} is for images alone; for volumes set it to 0"
            for name in useless
            if getattr(self.augmentation, name) > 0
        ]

    def _size_problems(self) -> list[str]:
        """How the patch goes through the network, which can be said where both have the same axes."""
        try:
            reached = sizes.trace(self.training.patch_size, self.network.encoder_windows())[-1]
        except ConfigError as error:
            return [str(error)]
        if self.network.norm == "instance" and all(size == 1 for size in reached):
            return ["the last stage is a single voxel, which has no spread to normalise; use fewer stages"]
        return []


def load_config(path: Path, overrides: list[str]) -> Config:
    """Read a configuration.

    Args:
        path: a YAML file; relative paths in it are relative to its folder.
        overrides: ``KEY=VALUE`` with dotted keys; relative paths in them are relative to the working directory.

    Raises:
        ConfigError: all problems of the file and the overrides at once.
    """
    settings = _read_yaml(path)
    anchor_paths(settings, Config, path.resolve().parent)
    for override in overrides:
        apply_override(override, settings, Config)
    return validate(Config, _interpolate(settings, path), str(path))


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
