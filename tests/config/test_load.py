from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config.inference import InferenceConfig, WatershedConfig
from pipeline.config.load import dump_yaml, load_config, parse_overrides, validate
from pipeline.errors import ConfigError

SMALL = """
name: small
data: {root: data}
network: {features: [8, 16, 32], deep_supervision: 1}
training: {patch_size: [16, 16, 16]}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A valid file with three stages, whose patch halves twice."""
    path = tmp_path / "configs" / "small.yaml"
    path.parent.mkdir()
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_what_a_file_leaves_out_has_its_default(small: Path) -> None:
    config = load_config(small, [])
    assert (config.name, config.training.patch_size) == ("small", (16, 16, 16))
    assert (config.training.batch_size, config.inference) == (2, InferenceConfig())


def test_a_section_that_may_be_null_is_given_as_a_table_or_key_by_key(small: Path) -> None:
    assert load_config(small, []).inference.watershed is None
    whole = load_config(small, ["inference.watershed={labels: [nuclei], peak_distance_mm: 3}"]).inference.watershed
    assert whole == WatershedConfig(labels=("nuclei",), peak_distance_mm=3)
    single = ["inference.watershed.labels=[nuclei]", "inference.watershed.peak_distance_mm=3"]
    assert load_config(small, single).inference.watershed == whole
    assert load_config(small, [*single, "inference.watershed=null"]).inference.watershed is None


def test_a_section_that_may_be_null_keeps_what_a_table_does_not_name(small: Path) -> None:
    given = ["inference.watershed={labels: [nuclei], peak_distance_mm: 3}", "inference.watershed={peak_depth_mm: 1}"]
    expected = WatershedConfig(labels=("nuclei",), peak_distance_mm=3, peak_depth_mm=1)
    assert load_config(small, given).inference.watershed == expected


def test_the_problems_of_a_section_that_may_be_null_are_named_with_their_path(small: Path) -> None:
    wrong = ["inference.watershed={labels: [], peak_depth_mm: 0, depth: 1}"]
    with pytest.raises(ConfigError, match="found 3 problems") as caught:
        load_config(small, wrong)
    for problem in (
        "inference.watershed.labels: Tuple should have at least 1 item",
        "inference.watershed.peak_depth_mm: Input should be greater than 0, found 0",
        "inference.watershed.depth: is no setting; check the spelling",
    ):
        assert problem in str(caught.value)


def test_settings_cannot_be_changed_after_loading(small: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_config(small, []).training.seed = 1  # type: ignore[misc]


def test_an_unknown_key_is_named_with_its_path(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.optimiser\.learningrate: is no setting; check the spelling"):
        load_config(small, ["training.optimiser.learningrate=0.1"])


def test_all_problems_are_reported_at_once(small: Path) -> None:
    wrong = ["data.root=null", "training.seed=one", "network.norm=layer", "inference.overlap=1", "sed=1"]
    with pytest.raises(ConfigError, match="found 5 problems") as caught:
        load_config(small, wrong)
    message = str(caught.value)
    assert message.startswith(f"Expected valid settings in {small}; found 5 problems:\n  data.root: ")
    for problem in (
        "training.seed: Input should be a valid integer, unable to parse string as an integer, found 'one'\n",
        "network.norm: Input should be 'instance', 'batch', 'group' or 'none', found 'layer'\n",
        "inference.overlap: Input should be less than 1, found 1\n",
        "sed: is no setting; check the spelling\n",
    ):
        assert f"\n  {problem}" in message
    assert message.endswith("docs/configuration.md lists every key with its meaning.")


@pytest.mark.parametrize(
    ("wrong", "problems"),
    [
        (
            ["training.patch_size=[16,16,16]", "augmentation.mirror_axes=[3]", "network.dimensions=2"],
            [
                "training.patch_size needs 2 entries",
                "augmentation.mirror_axes must be axes of a scan, from 0 to 2",
            ],
        ),
        (
            ["data.patient_pattern=(.)", "data.patient_table=t.csv", "data.labels={a: 1, b: 1}"],
            ["patient_pattern and patient_table both name", "labels must be distinct whole values"],
        ),
        (
            ["data.split={validation: 0.5, test: 0.5, fold: 5}"],
            ["validation + test must leave patients", "fold must be below folds"],
        ),
        (
            ["network.deep_supervision=2", "network.skips=[true]", "network.kernels=[[2,3,3],[3,3,3],[3,3,3]]"],
            ["skips needs 2 entries", "kernels must be odd", "deep_supervision can be at most"],
        ),
    ],
)
def test_settings_that_do_not_go_together_are_reported_a_line_each(
    small: Path, wrong: list[str], problems: list[str]
) -> None:
    with pytest.raises(ConfigError, match=f"found {len(problems)} problems:") as caught:
        load_config(small, wrong)
    lines = caught.value.found.splitlines()[1:]
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert problem in line


def test_a_missing_key_is_named(small: Path) -> None:
    small.write_text("data: {root: data}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"found 1 problem:\n  name: is missing\n"):
        load_config(small, [])


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("training.seed=1", {"training": {"seed": 1}}),
        ("training.optimiser.kind=sgd", {"training": {"optimiser": {"kind": "sgd"}}}),
        ("training.patch_size=[8, 16, 24]", {"training": {"patch_size": [8, 16, 24]}}),
        ("network.strides=[[1,1,1],[2,2,1]]", {"network": {"strides": [[1, 1, 1], [2, 2, 1]]}}),
        ("data.labels={liver: 1}", {"data": {"labels": {"liver": 1}}}),
        ("training.max_minutes=null", {"training": {"max_minutes": None}}),
        ("training.optimiser.learning_rate=1e-3", {"training": {"optimiser": {"learning_rate": 0.001}}}),
        ("inference.tta=true", {"inference": {"tta": True}}),
        ("tracking.run_name=a=b", {"tracking": {"run_name": "a=b"}}),  # only the first sign divides
        ("data.patient_pattern='^(.*?)_'", {"data": {"patient_pattern": "^(.*?)_"}}),
    ],
)
def test_the_value_of_an_override_is_read_as_yaml(override: str, changes: dict[str, Any]) -> None:
    assert parse_overrides([override]) == changes


def test_overrides_of_one_section_are_put_together() -> None:
    assert parse_overrides(["training.seed=1", "training.workers=2"]) == {"training": {"seed": 1, "workers": 2}}


def test_an_override_replaces_what_the_file_says_and_leaves_the_rest(small: Path) -> None:
    config = load_config(small, ["training.patch_size=[8,16,24]", "training.optimiser.gradient_clip=null"])
    assert config.training.patch_size == (8, 16, 24)  # the list as a whole, not its first entries
    assert config.training.optimiser.gradient_clip is None
    assert config.network.features == (8, 16, 32)


@pytest.mark.parametrize("item", ["training.seed", "=1", " =1", ""])
def test_an_override_without_key_or_value_is_refused(item: str) -> None:
    with pytest.raises(ConfigError, match=r"overrides of the form KEY=VALUE; found .*Write for example"):
        parse_overrides([item])


def test_an_override_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"overrides whose values are YAML; found .*training\.seed"):
        parse_overrides(["training.seed=[1"])


def test_a_file_that_does_not_parse_is_refused(small: Path) -> None:
    small.write_text("name: [small", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a YAML file; found .*small\.yaml, which does not parse"):
        load_config(small, [])


@pytest.mark.parametrize("content", ["", "- name\n- data\n"])
def test_a_file_without_keys_is_refused(small: Path, content: str) -> None:
    small.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"keys and values; found .*small\.yaml, which holds none"):
        load_config(small, [])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory\. Check the path"):
        load_config(tmp_path / "none.yaml", [])


def test_a_file_that_is_no_text_is_refused(small: Path) -> None:
    small.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"small\.yaml: not a text file\. Check the path"):
        load_config(small, [])


def test_a_path_in_the_file_is_relative_to_the_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent.parent)
    assert load_config(Path("configs/small.yaml"), []).data.root == small.parent / "data"


def test_a_path_in_an_override_is_relative_to_the_working_directory(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(small, ["data.root=other", "data.split.file=split.json", "cache.folder=/cache"])
    assert config.data.root == tmp_path / "other"
    assert config.data.split.file == tmp_path / "split.json"
    assert config.cache.folder == Path("/cache")


def test_a_tilde_is_the_home_folder(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_config(small, ["data.root=~/scans"]).data.root == Path("/home/somebody/scans")


def test_what_is_dumped_loads_as_the_same(small: Path, tmp_path: Path) -> None:
    config = load_config(
        small, ["data.labels={liver: 2}", "tracking.tags={a: b}", "network.kernels=[[3,3,1],[3,3,3],[3,3,3]]"]
    )
    (tmp_path / "dumped.yaml").write_text(dump_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "dumped.yaml", []) == config


def test_a_patch_that_does_not_fit_names_the_layer_and_the_nearest_sizes(small: Path) -> None:
    # 18 -> 9 at the first halving; 9 is odd, and the third stage halves again
    with pytest.raises(
        ConfigError,
        match=r"18 voxels, which reach layer encoder\.2\.blocks\.0 as 9.* Use 16 or 20 voxels along axis 1",
    ):
        load_config(small, ["training.patch_size=[16,18,16]"])


def test_a_patch_of_two_axes_does_not_go_with_volumes(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.patch_size needs 3 entries, .*, found \(16, 16\)"):
        load_config(small, ["training.patch_size=[16,16]"])


def test_only_axes_of_the_network_can_be_mirrored(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be axes of a scan, from 0 to 2, found \(0, 3\)"):
        load_config(small, ["augmentation.mirror_axes=[0,3]"])


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["network.deep_supervision=2"], r"deep_supervision can be at most stages - 2 = 1, found 2"),
        (
            ["network.block=dense"],
            r"network\.block: must be one of plain, .*, found 'dense'\n",
        ),
        (
            ["network.block=inception", "network.features=[8, 7, 16]"],
            r"network: features\[1\] must be 8 or more, so that every layer of its inception blocks has a channel, "
            r"found 7\n",
        ),
        (["network.attention=true", "network.skips=[false, false]"], r"attention needs a skip connection or more"),
        (["network.kernels=[[3,3,3]]"], r"kernels needs 3 entries for 3 stages, found 1"),
        (["network.kernels=[[2,3,3],[3,3,3],[3,3,3]]"], r"kernels must be odd"),
        (["network.strides=[[1,1],[2,2,2],[2,2,2]]"], r"strides\[0\] needs 3 entries, one an axis, found 2"),
        (["data.split.validation=0.5", "data.split.test=0.5"], r"must leave patients to train on, found 1\.0"),
        (["data.split.fold=5"], r"fold must be below folds = 5, found 5"),
        (["data.labels={a: 1, b: 1}"], r"labels must be distinct whole values between 1 and 65535, found \[1, 1\]"),
        (["data.patient_pattern=(.)", "data.patient_table=t.csv"], r"both name the patient; keep one"),
        (
            ["training.loss={dice: 0, cross_entropy: 0, others: {focal: 0}}"],
            r"training\.loss: dice, cross_entropy and others are all 0; give one of them a weight",
        ),
        (["training.loss.others={dice: 1}"], r"training\.loss: dice has a key of its own; leave it out of others"),
        (["training.loss.others={focal: -1}"], r"training\.loss\.others\.focal: Input should be greater than or equal"),
        (["network.dimensions=2"], r"patch_size needs 2 entries, .*, found \(16, 16, 16\)"),
        (["augmentation.scaling_range=[0,1.4]"], r"scaling_range\.0: Input should be greater than 0, found 0"),
        (["augmentation.scaling_range=[-0.7,1.4]"], r"scaling_range\.0: Input should be greater than 0, found -0\.7"),
        (["augmentation.scaling_range=[1.4,0.7]"], r"scaling_range: .* lower to its higher end, found \[1\.4, 0\.7\]"),
        (["augmentation.scaling_range=[0.7,.inf]"], r"scaling_range\.1: Input should be a finite number"),
        (["augmentation.contrast_range=[-1,1]"], r"contrast_range\.0: Input should be greater than or equal to 0"),
        (["augmentation.colour=0.1"], r"augmentation\.colour is for images alone; for volumes set it to 0"),
        (["augmentation.compression=1"], r"augmentation\.compression is for images alone"),
        (["augmentation.grid_distortion=0.2"], r"augmentation\.grid_distortion is for images alone"),
        (
            ["augmentation.compression_quality_range=[0,9]"],
            r"quality_range\.0: Input should be greater than or equal to 1",
        ),
        (["augmentation.compression_quality_range=[9,5]"], r"quality_range: .* its higher end, found \[9, 5\]"),
        (["augmentation.gamma_range=[2,1]"], r"gamma_range: .* lower to its higher end, found \[2\.0, 1\.0\]"),
        (["training.seed=-1"], r"training\.seed: Input should be greater than or equal to 0, found -1"),
        (["training.seed=4294967296"], r"training\.seed: Input should be less than 4294967296"),
        (["data.split.seed=-1"], r"data\.split\.seed: Input should be greater than or equal to 0, found -1"),
        (["evaluation.seed=-1"], r"evaluation\.seed: Input should be greater than or equal to 0, found -1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(small: Path, overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(small, overrides)


def test_a_single_section_is_validated_under_the_name_of_its_source() -> None:
    with pytest.raises(ConfigError, match=r"valid settings in the command line; found 1 problem:\n  overlap: "):
        validate(InferenceConfig, {"overlap": -1}, "the command line")
