"""The files that say which packages are needed agree with each other, and the version with the changelog."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from mlflow.projects._project_spec import load_project
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pipeline

ROOT = Path(__file__).parent.parent


def parse(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by the name that pip compares."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pinned_version(requirement: Requirement) -> str:
    """The version of a pin such as torch==2.13.0."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is no pin"
    return specifier.version


def arguments(entry_point: str, values: dict[str, str]) -> list[str]:
    """What `python -m pipeline` receives from an entry point, in the shell that MLflow runs it in."""
    command = load_project(str(ROOT)).get_entry_point(entry_point).compute_command(values, storage_dir=None)
    stand_in = 'python() { printf "%s\\n" "$@"; }\n'
    result = subprocess.run(["bash", "-c", stand_in + command], capture_output=True, text=True, check=True)
    module, name, *rest = result.stdout.splitlines()
    assert (module, name) == ("-m", "pipeline")
    return rest


def arguments_in_docker(entry_point: str, values: dict[str, str]) -> list[str]:
    """What the entry point of the image receives, in the shell that MLflow starts Docker in."""
    command = load_project(str(ROOT / "docker")).get_entry_point(entry_point).compute_command(values, storage_dir=None)
    stand_in = 'docker() { shift 2; printf "%s\\n" "$@"; }\n'
    result = subprocess.run(
        ["bash", "-c", f"{stand_in}docker run medseg {command}"], capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return parse([line for line in lines if line and not line.startswith("#")])


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_every_direct_dependency_has_a_pin_within_its_range(project: dict, constraints: dict[str, Requirement]) -> None:
    for name, requirement in parse([*project["dependencies"], *project["optional-dependencies"]["dev"]]).items():
        assert name in constraints, f"{name} is missing from constraints.txt"
        assert requirement.specifier.contains(pinned_version(constraints[name])), (
            f"{constraints[name]}, not {requirement}"
        )


def test_every_constraint_is_a_pin_without_a_local_build(constraints: dict[str, Requirement]) -> None:
    assert [name for name, pin in constraints.items() if "+" in pinned_version(pin) or pin.url] == []


def test_the_conda_environment_has_the_direct_dependencies_at_the_pinned_versions(
    project: dict, constraints: dict[str, Requirement], conda: dict
) -> None:
    (from_pip,) = (entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    expected = {name: pinned_version(constraints[name]) for name in parse(project["dependencies"])}
    assert {name: pinned_version(pin) for name, pin in parse(from_pip).items()} == expected


def test_the_conda_environment_has_a_python_that_the_project_supports(project: dict, conda: dict) -> None:
    (python,) = (entry for entry in conda["dependencies"] if isinstance(entry, str) and entry.startswith("python="))
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python.removeprefix("python="))


def test_the_version_is_the_newest_of_the_changelog() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == pipeline.__version__


@pytest.mark.parametrize(
    ("entry_point", "values", "expected"),
    [
        ("main", {"config": "a b.yaml"}, ["train", "a b.yaml"]),
        ("train", {"config": "a b.yaml"}, ["train", "a b.yaml"]),
        ("predict", {"model": "m", "input": "in", "output": "out"}, ["predict", "m", "in", "out"]),
    ],
)
def test_mlflow_splits_overrides_at_spaces_and_expands_nothing(
    entry_point: str, values: dict[str, str], expected: list[str]
) -> None:
    overrides = {"overrides": "training.seed=1 tracking.tags=[*] $(exit)"}
    assert arguments(entry_point, values | overrides) == [*expected, "training.seed=1", "tracking.tags=[*]", "$(exit)"]


def test_mlflow_trains_the_demo_by_default() -> None:
    assert arguments("main", {}) == ["train", "configs/demo.yaml"]


def test_mlflow_evaluates_a_model_on_a_data_set() -> None:
    values = {"model": "m", "dataset": "d", "out": "o"}
    assert arguments("evaluate", values) == ["evaluate", "m", "d", "-o", "o"]


def test_both_mlflow_projects_have_the_same_entry_points() -> None:
    here, docker = (yaml.safe_load(path.read_text()) for path in (ROOT / "MLproject", ROOT / "docker" / "MLproject"))
    parameters = [
        {name: point["parameters"] for name, point in project["entry_points"].items()} for project in (here, docker)
    ]
    assert parameters[0] == parameters[1]


@pytest.mark.parametrize(
    ("entry_point", "values"),
    [
        ("main", {"config": "a b.yaml", "overrides": "training.seed=1 tracking.tags=[*] $(exit)"}),
        ("train", {}),
        ("evaluate", {"model": "m", "dataset": "d e", "out": "o"}),
        ("predict", {"model": "m", "input": "in", "output": "out", "overrides": "inference.tta=false"}),
    ],
)
def test_the_image_is_asked_for_what_the_environment_is_asked_for(entry_point: str, values: dict[str, str]) -> None:
    assert arguments_in_docker(entry_point, values) == arguments(entry_point, values)


def test_the_docker_project_names_the_image_that_the_readme_builds() -> None:
    image = load_project(str(ROOT / "docker")).docker_env["image"]
    assert f"docker build -t {image} " in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_image_is_made_from_what_its_dockerfile_copies_and_no_more() -> None:
    copied = set()
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!/") for line in lines if line.startswith("!/")}
    assert "*" in lines
    assert {name.split("/")[0] for name in allowed} == copied
    assert all((ROOT / name).exists() for name in allowed)
