"""Files and values that YAML takes for something else than their writer meant, and the shipped files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.load import Config, dump_yaml, load_config
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = "name: small\ndata:\n  root: data\n"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def into_a_file(text: str) -> Path:
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "config.yaml"

    return into_a_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("\tname: a\n", "Expected a YAML file; found .*does not parse", id="tab"),
        pytest.param("name: a\nname: b\n", r"does not parse: (.|\n)*duplicate key name", id="a key given twice"),
        pytest.param("name: !!python/name:os.system\n", "does not parse: could not determine", id="code"),
        pytest.param("name: &a [*a]\n", "does not parse: .*recursive aliases", id="recursion"),
        pytest.param(
            "name: a\ndata:\n", "data: Input should be a valid dictionary .*, found None", id="an empty section"
        ),
        pytest.param(
            SMALL + "training: [1]\n", r"training: Input should be .*, found \[1\]", id="a list for a section"
        ),
        pytest.param(SMALL + "7: 1\n", "  7: is no setting; check the spelling", id="a number as a key"),
        pytest.param("name: no\ndata: {root: a}\n", "name: Input should be .* string, found False", id="no as a name"),
        pytest.param("name: 1e3\ndata: {root: a}\n", r"name: Input should be .* string, found 1000\.0", id="a number"),
    ],
)
def test_what_is_no_configuration_is_refused(write: Write, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(text), [])


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory\. Check the path"):
        load_config(tmp_path, [])


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("training..seed=3", r"training\.: is no setting"),
        ("training.patch_size.0=32", r"training\.patch_size: Input should be a valid tuple, found \{'0': 32\}"),
        ("training=3", "training: Input should be a valid dictionary .*, found 3"),
        ("training.max_minutes=.nan", r"training\.max_minutes: Input should be greater than 0, found nan"),
        ("training.workers=1.5", r"training\.workers: Input should be a valid integer, .*found 1\.5"),
    ],
)
def test_an_override_that_misses_its_setting_is_named(write: Write, item: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"found 1 problem:\n  {problem}"):
        load_config(write(SMALL), [item])


@pytest.mark.parametrize("item", ["name=${absent}", "name=${env:HOME}"])
def test_an_interpolation_that_leads_nowhere_is_refused(write: Write, item: str) -> None:
    with pytest.raises(ConfigError, match="put together"):
        load_config(write(SMALL), [item])


@pytest.mark.parametrize(
    ("overrides", "labels"),
    [
        (["data.labels={liver: 1}"], {"liver": 1}),
        (["data={labels: {liver: 1}}"], {"liver": 1}),
        (["data.labels.liver=2"], {"anterior": 1, "liver": 2}),
        (["data.labels.anterior=2"], {"anterior": 2}),
        (["data.labels={liver: 1}", "data.labels.spleen=2"], {"liver": 1, "spleen": 2}),
        (["data.labels.spleen=2", "data.labels={liver: 1}"], {"liver": 1}),
        (["data.labels=null"], None),
    ],
)
def test_labels_on_the_command_line_replace_those_of_the_file_unless_they_name_one_of_them(
    write: Write, overrides: list[str], labels: dict[str, int] | None
) -> None:
    config = load_config(write(SMALL + "  labels: {anterior: 1}\n  layout: pairs\n"), overrides)
    assert (config.data.labels, config.data.layout) == (labels, "pairs")


def test_tags_on_the_command_line_replace_those_of_the_file(write: Write) -> None:
    path = write(SMALL + "tracking: {tags: {a: b}, run_name: mine}\n")
    config = load_config(path, ["tracking.tags={c: d}"])
    assert (config.tracking.tags, config.tracking.run_name) == ({"c": "d"}, "mine")


def test_a_section_on_the_command_line_leaves_the_other_settings_of_the_section(write: Write) -> None:
    path = write(SMALL + "training: {seed: 1, loss: {dice: 0.5}}\n")
    training = load_config(path, ["training={workers: 2, loss: {cross_entropy: 0.25}}"]).training
    assert (training.seed, training.workers) == (1, 2)
    assert (training.loss.dice, training.loss.cross_entropy) == (0.5, 0.25)


def test_text_that_looks_like_a_path_but_is_none_is_left_alone(write: Write) -> None:
    assert load_config(write(SMALL + "  patient_pattern: a/b\n"), []).data.patient_pattern == "a/b"


def test_strides_that_leave_an_axis_alone_let_any_size_pass_there(write: Write) -> None:
    strides = "network.strides=[[1, 1, 1], [2, 2, 1], [2, 2, 1], [2, 2, 1]]"
    config = load_config(write(SMALL), [strides, "training.patch_size=[64, 48, 13]"])
    assert config.training.patch_size == (64, 48, 13)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_file_that_is_dumped_loads_as_the_same_from_anywhere(tmp_path: Path, path: Path) -> None:
    config = load_config(path, ["training.max_minutes=0.5", "training.optimiser.weight_decay=1e-7"])
    (tmp_path / "resolved.yaml").write_text(dump_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "resolved.yaml", []) == config


def test_there_are_shipped_files() -> None:
    assert {"demo", "hippocampus"} <= {path.stem for path in CONFIGS.glob("*.yaml")}


def test_every_key_is_dumped(write: Write) -> None:
    text = dump_yaml(load_config(write(SMALL), []))
    assert all(f"\n{section}:\n" in text for section in Config.model_fields if section != "name")
    assert "max_minutes: null" in text


@pytest.mark.parametrize("value", ["no", "1", "1e3", "a: b", "ü", "~"])
def test_text_that_looks_like_something_else_is_dumped_as_text(tmp_path: Path, write: Write, value: str) -> None:
    config = load_config(write(SMALL), []).model_copy(update={"name": value})
    (tmp_path / "resolved.yaml").write_text(dump_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "resolved.yaml", []).name == value
