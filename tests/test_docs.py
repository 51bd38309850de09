"""What the pages say exists: commands, options, targets, settings, files."""

import re
import runpy
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from pipeline.cli import app
from pipeline.commands.prediction_worklist import FIXED_COLUMNS
from pipeline.metrics.structures import describe_structures
from pipeline.scan import Scan

ROOT = Path(__file__).parent.parent
GUIDES = (
    "DESIGN",
    "autoencoders",
    "benchmarks",
    "blocks",
    "configuration",
    "datasets",
    "evaluating",
    "extending",
    "predicting",
    "python",
    "tracking",
)
PAGES = ["README.md", *(f"docs/{name}.md" for name in GUIDES)]
CONFIGURATION = runpy.run_path(str(ROOT / "scripts" / "write_configuration_docs.py"))
MEASURED = runpy.run_path(str(ROOT / "scripts" / "write_measured_docs.py"))
GROUPS = list(CONFIGURATION["all_groups"]())
KEYS = {setting.key for group in GROUPS for setting in group.settings}
TABLES = {group.name for group in GROUPS}
SECTIONS = {key.partition(".")[0] for key in KEYS if "." in key}
PROGRAMS = ("medseg", "make", "mlflow")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command, in blocks of code and between backticks."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    outside = re.sub(r"```\w*\n.*?```", "", text, flags=re.DOTALL)
    for line in [*lines, *re.findall(r"`([^`\n]+)`", outside)]:
        if line.split(" ")[0] in PROGRAMS:
            yield shlex.split(line)


def check_medseg(arguments: list[str]) -> None:
    """Parse the arguments as the command line does; a command that is only named has to exist."""
    if not arguments:  # the program is only named
        return
    group: Any = typer.main.get_command(app)
    name, *rest = arguments
    assert name in group.commands, f"there is no command {name}"
    if rest:
        group.commands[name].make_context(name, rest)


def check_make(targets: list[str]) -> None:
    known = re.findall(r"^(\w+):.*##", read("Makefile"), re.MULTILINE)
    assert set(targets) <= set(known), f"the Makefile has {known}, not {targets}"


def check_mlflow(arguments: list[str]) -> None:
    """An entry point and its parameters; other commands of MLflow are not ours."""
    if arguments[0] != "run":
        return
    project = yaml.safe_load(read(f"{arguments[1]}/MLproject"))
    entry_point = project["entry_points"][arguments[arguments.index("-e") + 1]]
    given = {word.partition("=")[0] for flag, word in pairwise(arguments) if flag == "-P"}
    required = {name for name, kind in entry_point["parameters"].items() if "default" not in kind}
    assert required <= given <= set(entry_point["parameters"])


CHECKS = {"medseg": check_medseg, "make": check_make, "mlflow": check_mlflow}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    for program, *arguments in commands(read(page)):
        CHECKS[program](arguments)


def test_the_readme_names_commands_of_every_program() -> None:
    assert {words[0] for words in commands(read("README.md"))} == set(PROGRAMS)


def test_a_command_is_found_in_a_block_and_between_backticks() -> None:
    text = "Say `make test` or `make`-believe.\n\n   ```\n   medseg check 'my data' --deep\n   cp a b\n   ```\n"
    assert list(commands(text)) == [["medseg", "check", "my data", "--deep"], ["make", "test"], ["make"]]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["predict", "m", "in"], "Missing parameter: output"),
        (["check", "data", "--shallow"], "No such option: --shallow"),
        (["guess"], "there is no command guess"),
    ],
)
def test_a_command_with_wrong_arguments_does_not_pass(arguments: list[str], problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        check_medseg(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_is_named_exists(page: str) -> None:
    named = set(re.findall(rf"\b((?:{'|'.join(sorted(SECTIONS))})(?:\.[a-z_]+)+)\b(?=[`=])", read(page)))
    assert named - KEYS - TABLES - {"metrics.json", "gate.safetensors", "estimate.safetensors"} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_repository_leads_to_a_file(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", read(page)) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_page_of_settings_is_what_its_script_makes() -> None:
    assert read("docs/configuration.md") == CONFIGURATION["page"]()


@pytest.mark.parametrize("name", MEASURED["PAGES"])
def test_the_tables_of_measurements_are_those_of_the_newest_records(name: str) -> None:
    assert read(f"docs/{name}.md") == MEASURED["page"](name)


def test_every_setting_says_what_it_means() -> None:
    groups = list(CONFIGURATION["all_groups"]())
    assert [group.name for group in groups if not group.meaning] == []
    assert [setting.key for group in groups for setting in group.settings if not setting.meaning] == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "whole number >= 1"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number >= 0, < 1"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "path or null"),
        ({"enum": ["auto", 3]}, "`auto` or `3`"),
        ({"anyOf": [{"type": "boolean"}, {"const": "auto", "type": "string"}]}, "true or false or `auto`"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]}, "[number, number]"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}, "[[true or false, ...], ...]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "{name: whole number, ...}"),
    ],
)
def test_a_type_is_said_in_words(schema: dict[str, Any], words: str) -> None:
    assert CONFIGURATION["type_in_words"](schema) == words


def test_the_columns_and_statistics_of_a_prediction_are_explained() -> None:
    scan = Scan(np.zeros((1, 1, 1, 1)), np.eye(4), Path("scan.nii.gz"))
    (statistics,) = describe_structures(np.ones((1, 1, 1), np.uint8), scan, {"a": 1}).values()
    text = read("docs/predicting.md")
    assert [name for name in [*FIXED_COLUMNS, *statistics] if f"`{name}`" not in text] == []
