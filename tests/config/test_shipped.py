"""The configurations that come with the project: whole, valid, and each one tested."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from pipeline import sizes
from pipeline.config.load import load_config, load_pretraining

CONFIGS = Path(__file__).parents[2] / "configs"
TABLES = {"data.labels", "data.codes", "data.categories", "data.mask.colours", "tracking.tags", "training.loss.others"}
AUTOENCODERS = ["denoising", "masked", "sparse", "super_resolution", "undercomplete", "variational"]
NAMES = ["acdc", "cells", "demo", "drive", "hippocampus", "isbi2012", "nuclei"]


def keys(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a YAML file; a table of tags or labels counts as one value."""
    for name, value in settings.items():
        if isinstance(value, dict) and f"{prefix}{name}" not in TABLES:
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def keys_in(path: Path) -> list[str]:
    """Dotted keys of a YAML file, sorted."""
    return sorted(keys(yaml.safe_load(path.read_text(encoding="utf-8"))))


def settings_of(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all settings."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from settings_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_these_tests_know_every_shipped_configuration() -> None:
    shipped = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_file())
    assert shipped == sorted(f"{name}.yaml" for name in [*NAMES, *(f"autoencoders/{name}" for name in AUTOENCODERS)])


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_loads_under_its_own_name(name: str) -> None:
    assert load_config(CONFIGS / f"{name}.yaml", []).name == name


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_configuration_of_an_autoencoder_does_too(name: str) -> None:
    assert load_pretraining(CONFIGS / "autoencoders" / f"{name}.yaml", []).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_gives_every_key(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    assert keys_in(path) == sorted(settings_of(load_config(path, [])))


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_configuration_of_an_autoencoder_gives_every_key_too(name: str) -> None:
    path = CONFIGS / "autoencoders" / f"{name}.yaml"
    assert keys_in(path) == sorted(settings_of(load_pretraining(path, [])))


@pytest.mark.parametrize(
    ("name", "coarsest"),
    [
        ("acdc", (10, 10)),  # 160 x 160 halved four times
        ("cells", (16, 16)),
        ("demo", (5, 6, 5)),  # 40 x 48 x 40 halved three times
        ("drive", (8, 8)),  # 256 x 256 halved five times
        ("hippocampus", (5, 7, 5)),  # 40 x 56 x 40 halved three times
        ("isbi2012", (24, 24)),
        ("nuclei", (12, 12)),
    ],
)
def test_the_patch_halves_down_to_the_coarsest_stage(name: str, coarsest: sizes.Size) -> None:
    config = load_config(CONFIGS / f"{name}.yaml", [])
    assert sizes.trace(config.training.patch_size, config.network.encoder_windows())[-1] == coarsest


def test_the_demo_reads_the_samples_that_come_with_it() -> None:
    root = load_config(CONFIGS / "demo.yaml", []).data.root
    assert root.resolve() == CONFIGS.parent / "data_samples" / "shapes"


def test_the_hippocampus_lies_where_the_readme_downloads_it() -> None:
    root = load_config(CONFIGS / "hippocampus.yaml", []).data.root
    assert root.resolve() == CONFIGS.parent / "data" / "Task04_Hippocampus"
