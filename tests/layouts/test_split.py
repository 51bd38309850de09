import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.data import DataConfig, SplitConfig
from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Case
from pipeline.layouts.discover import discover
from pipeline.layouts.split import Split, choose_split, make_split, read_split, write_split

RealData = Callable[[str], Path]
counts = st.lists(st.integers(1, 3), min_size=3, max_size=40)


def _cases(counts: list[int]) -> list[Case]:
    """As many cases of each patient as the list says."""
    return [
        Case(f"p{patient}_{index}", (Path("image"),), Path("mask"), f"p{patient}")
        for patient, count in enumerate(counts)
        for index in range(count)
    ]


def _patients(names: tuple[str, ...]) -> set[str]:
    return {name.split("_")[0] for name in names}


def _sizes(split: Split) -> tuple[int, ...]:
    return tuple(len(_patients(part)) for part in (split.train, split.validation, split.test))


@given(counts, st.integers(0, 1000))
def test_every_case_lies_in_one_part_with_all_cases_of_its_patient(counts: list[int], seed: int) -> None:
    cases = _cases(counts)
    split = make_split(cases, SplitConfig(seed=seed))
    assert sorted(split.train + split.validation + split.test) == sorted(case.name for case in cases)
    assert sum(_sizes(split)) == len(counts)
    assert min(_sizes(split)) >= 1


def test_blocks_are_neighbours_by_name_whose_numbers_count() -> None:
    names = ["slice_10", "slice_9", "slice_8", "slice_7", "slice_11", "slice_100"]
    cases = [Case(name, (Path("image"),), Path("mask"), name) for name in names]
    split = make_split(cases, SplitConfig(kind="blocks", validation=1 / 3, test=1 / 6))
    assert split.validation == ("slice_100", "slice_11")
    assert split.test == ("slice_10",)
    assert split.train == ("slice_7", "slice_8", "slice_9")


@given(counts, st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_cases(counts: list[int], random: Any) -> None:
    cases = _cases(counts)
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert make_split(shuffled, SplitConfig()) == make_split(cases, SplitConfig())


@pytest.mark.parametrize(
    ("patients", "validation", "test", "sizes"),
    [
        (10, 0.1, 0.2, (7, 1, 2)),
        (15, 0.1, 0.2, (10, 2, 3)),  # 1.5 patients round up
        (14, 0.1, 0.2, (10, 1, 3)),  # 1.4 and 2.8
        (3, 0.1, 0.2, (1, 1, 1)),  # 0.3 and 0.6: one each
        (3, 0.5, 0.4, (1, 1, 1)),  # 1.5 and 1.2 would leave none to train on
        (4, 0.6, 0.0, (2, 2, 0)),
        (2, 0.0, 0.2, (1, 0, 1)),
        (1, 0.0, 0.0, (1, 0, 0)),
    ],
)
def test_fractions_are_shares_of_the_patients(
    patients: int, validation: float, test: float, sizes: tuple[int, ...]
) -> None:
    cases = _cases([1 + patient % 3 for patient in range(patients)])
    assert _sizes(make_split(cases, SplitConfig(validation=validation, test=test))) == sizes


def test_a_seed_gives_the_same_split_again_and_another_seed_another() -> None:
    cases = _cases([1] * 30)
    assert make_split(cases, SplitConfig(seed=1)) == make_split(cases, SplitConfig(seed=1))
    assert make_split(cases, SplitConfig(seed=1)) != make_split(cases, SplitConfig(seed=2))


def test_a_known_split_stays_as_it_is_over_versions() -> None:
    split = make_split(_cases([1] * 6), SplitConfig(seed=0))
    # numpy.random.default_rng(0).permutation(6) is 3 2 5 4 0 1: the first is validated on, the second tested on
    assert split == Split(("p0_0", "p1_0", "p4_0", "p5_0"), ("p3_0",), ("p2_0",))


@given(st.lists(st.integers(1, 3), min_size=5, max_size=23), st.integers(2, 5), st.integers(0, 9))
def test_each_patient_is_validated_on_in_exactly_one_fold(counts: list[int], folds: int, seed: int) -> None:
    cases = _cases(counts)
    configs = [SplitConfig(kind="folds", folds=folds, fold=fold, seed=seed) for fold in range(folds)]
    splits = [make_split(cases, config) for config in configs]
    validated = Counter(patient for split in splits for patient in _patients(split.validation))
    assert validated == Counter(f"p{patient}" for patient in range(len(counts)))
    sizes = [len(_patients(split.validation)) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert split.test == ()
        assert sorted(split.train + split.validation) == sorted(case.name for case in cases)
        assert not _patients(split.train) & _patients(split.validation)


@pytest.mark.parametrize(
    ("patients", "settings", "message"),
    [
        (
            2,
            {},
            "3 patients or more to divide; found 2. Add cases, correct data.patient_pattern, or set",
        ),
        (1, {"test": 0}, "2 patients or more to divide; found 1"),
        (0, {"test": 0, "validation": 0}, "1 patient or more to divide; found 0"),
        (4, {"kind": "folds"}, "5 patients or more to divide; found 4. Add cases, or lower data.split.folds"),
    ],
)
def test_too_few_patients_are_an_error(patients: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_split(_cases([3] * patients), SplitConfig(**settings))


@pytest.mark.parametrize("seed", range(8))
def test_no_patient_of_acdc_lies_in_two_parts(real_data: RealData, seed: int) -> None:
    labels = {"right_ventricle": 1, "myocardium": 2, "left_ventricle": 3}
    dataset = discover(DataConfig(root=real_data("acdc"), patient_pattern="^(.*?)_", labels=labels))
    split = make_split(dataset.cases, SplitConfig(seed=seed))
    patients = [{name.partition("_")[0] for name in part} for part in split.parts.values()]
    assert [len(part) for part in patients] == [21, 3, 6, 0]
    assert len(set.union(*patients)) == 30
    assert [len(part) for part in split.parts.values()] == [42, 6, 12, 0]


def test_a_split_that_was_written_is_read_again(tmp_path: Path) -> None:
    cases = _cases([2, 1, 3, 1])
    split = make_split(cases, SplitConfig())
    write_split(tmp_path / "split.json", split, SplitConfig())
    assert read_split(tmp_path / "split.json", cases) == split
    assert choose_split(cases, SplitConfig(file=tmp_path / "split.json", seed=99)) == split


def test_without_a_file_a_new_split_is_chosen() -> None:
    cases = _cases([1] * 9)
    assert choose_split(cases, SplitConfig(seed=3)) == make_split(cases, SplitConfig(seed=3))


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (SplitConfig(seed=4), {"kind": "fractions", "seed": 4, "validation": 0.1, "test": 0.2}),
        (SplitConfig(kind="folds", fold=1), {"kind": "folds", "seed": 0, "folds": 5, "fold": 1}),
        (SplitConfig(file=Path("/secret/split.json")), {"kind": "file", "seed": None}),
    ],
)
def test_the_file_says_how_the_split_was_made(tmp_path: Path, config: SplitConfig, settings: dict[str, Any]) -> None:
    write_split(tmp_path / "split.json", Split(("a",), ("b",), ()), config)
    assert json.loads((tmp_path / "split.json").read_text()) == {
        "format_version": 1,
        "settings": settings,
        "train": ["a"],
        "validation": ["b"],
        "test": [],
        "unused": [],
    }


def _read(folder: Path, cases: list[Case], **parts: Any) -> Split:
    content = {"format_version": 1, "train": [], "validation": [], "test": [], **parts}
    (folder / "split.json").write_text(json.dumps(content))
    return read_split(folder / "split.json", cases)


def test_cases_may_be_left_out_on_purpose(tmp_path: Path) -> None:
    split = _read(tmp_path, _cases([2, 1]), train=["p0_1"], validation=["p1_0"], unused=["p0_0"])
    assert split == Split(("p0_1",), ("p1_0",), (), ("p0_0",))
    assert [part for part, names in split.parts.items() if "p0_0" in names] == ["unused"]


def test_a_split_that_leaves_cases_out_is_written_and_read_again(tmp_path: Path) -> None:
    cases = _cases([2, 1])
    split = _read(tmp_path, cases, train=["p0_1"], validation=["p1_0"], unused=["p0_0"])
    write_split(tmp_path / "again.json", split, SplitConfig(file=tmp_path / "split.json"))
    assert read_split(tmp_path / "again.json", cases) == split


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": ["p0_0", "p0_1", "p1_0", "x", "y"]}, "2 names that no case has: x, y"),
        ({"train": ["p0_0", "p0_1", "p1_0"], "unused": ["x"]}, "1 name that no case has: x"),
        ({"train": ["p0_0", "p0_1", "p1_0"], "test": ["p1_0"]}, "1 case named more than once: p1_0"),
        ({"train": ["p0_0", "p0_1", "p1_0", "p1_0"]}, "1 case named more than once: p1_0"),
        ({"train": ["p0_0", "p0_1", "p1_0"], "unused": ["p1_0"]}, "1 case named more than once: p1_0"),
        ({"train": ["p0_0"]}, r'2 cases that it does not name: p0_1, p1_0.*"unused" lists cases to leave out'),
        (
            {"train": ["p0_0", "p1_0"], "test": ["p0_1"]},
            r"1 patient in more than one part: p0_0 \(train\) \+ p0_1 \(test\)",
        ),
    ],
)
def test_a_split_that_does_not_fit_the_cases_is_an_error(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        _read(tmp_path, _cases([2, 1]), **parts)


def test_all_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no case has: x; 1 case named more than .*; 1 case that .*; 1 patient in"):
        _read(tmp_path, _cases([2, 1, 1]), train=["p0_0", "p1_0", "p1_0"], validation=["p0_1"], test=["x"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"format_version": 2}, r"format_version 1.*format_version: .* found 2"),
        ({"train": []}, "train: .* at least 1 item"),
        ({"train": "p0_0"}, "train: .* found 'p0_0'"),
        ({"train": ["p0_0"], "val": []}, "val: is no setting; check the spelling"),
        ({"train": [0]}, r"train\.0: .* found 0"),
    ],
)
def test_a_file_that_is_no_split_is_an_error(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        _read(tmp_path, _cases([2, 1]), **parts)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a readable file; found .*split\.json: No such file"):
        read_split(tmp_path / "split.json", [])


def test_a_file_without_a_part_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text('{"format_version": 1, "train": ["a"], "validation": []}')
    with pytest.raises(DatasetError, match="test: is missing"):
        read_split(tmp_path / "split.json", [])
