"""Which cases are scored, by their content alone, and which data sets a model is not scored on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.commands.selection import Selection, SplitName, check_declaration, select_cases
from pipeline.errors import DatasetError
from pipeline.evaluation.scores import FailedCase
from pipeline.layouts.dataset import Case, Dataset
from pipeline.manifest import Manifest, Part, read_manifest

WriteModel = Callable[..., Path]
Select = Callable[..., Selection]
CODES: dict[str, Part] = {"t": "train", "v": "validation", "e": "test", "u": "unused"}


@pytest.fixture
def select(write_model: WriteModel) -> Select:
    """Selects among cases written as letters: t trained on, v validated on, e of the test part, u left unused,
    ? unknown, x damaged.

    Case number n is called n; the content of every case is its own.
    """

    def run(letters: str, part: SplitName | None = None) -> Selection:
        parts = {f"hash {n}": CODES[letter] for n, letter in enumerate(letters) if letter in CODES}
        outcomes = {
            str(n): FailedCase(str(n), "cut off") if letter == "x" else f"hash {n}" for n, letter in enumerate(letters)
        }
        dataset = dataset_of(*(Case(name, (Path(name),), Path(name), name) for name in outcomes))
        return select_cases(dataset, outcomes, read_manifest(write_model(parts=parts)), part=part)

    return run


def dataset_of(*cases: Case, labels: dict[str, int] | None = None, modalities: tuple[str, ...] = ()) -> Dataset:
    """A data set whose dataset.json names these."""
    return Dataset("set", Path("set"), {"organ": 1}, ("CT",), cases, own_labels=labels or {}, own_modalities=modalities)


def names(selection: Selection) -> list[str]:
    return [case.name for case in selection.cases]


# --- Parts


def test_nine_known_cases_of_ten_make_the_test_part_the_default_and_the_others_are_counted(select: Select) -> None:
    selection = select("ttttttvee?")
    assert (selection.part, names(selection), selection.excluded) == ("test", ["7", "8"], 0)
    assert selection.left_out == {"train": 6, "validation": 1, "test": 0, "unused": 0, "unknown": 1}


def test_a_few_known_cases_do_not_hide_the_others_and_only_those_trained_on_are_left_out(select: Select) -> None:
    selection = select("tve???????")
    assert (selection.part, names(selection)) == ("all", list("123456789"))
    assert selection.excluded == 1
    assert selection.left_out == {"train": 1, "validation": 0, "test": 0, "unused": 0, "unknown": 0}


def test_cases_that_training_left_unused_are_known_and_unseen(select: Select) -> None:
    assert (names(select("tttuuuuue")), select("tttuuuuue").part) == (["8"], "test")
    assert select("tttuuuuue").left_out["unused"] == 5
    assert names(select("tuu", "all")) == ["1", "2"]


def test_unreadable_cases_are_failed_and_do_not_count_for_the_default(select: Select) -> None:
    selection = select("tttttttevxxxx")
    assert (selection.part, names(selection), len(selection.failed)) == ("test", ["7"], 4)
    assert select("xx").part == "all"


def test_a_part_that_is_asked_for_is_taken(select: Select) -> None:
    assert names(select("tve?", "val")) == ["1"]
    assert names(select("tve?", "test")) == ["2"]
    everything = select("tve?", "all")
    assert (names(everything), everything.excluded) == (["1", "2", "3"], 1)


@pytest.mark.parametrize(
    ("letters", "part", "found", "remedy"),
    [
        ("ttttv", None, "4 train, 1 validation", "val"),  # a model of a fold, on its own data set
        ("ttte", "val", "3 train, 1 test", "test"),
        ("t??", "test", "1 train, 2 unknown", "all"),
    ],
)
def test_where_no_case_is_left_the_remedy_is_one_that_works(
    select: Select, letters: str, part: SplitName | None, found: str, remedy: SplitName
) -> None:
    with pytest.raises(DatasetError, match=rf"none; by the model's split they are {found}\. --split {remedy} scores"):
        select(letters, part)
    assert select(letters, remedy).cases


@pytest.mark.parametrize("part", [None, "test", "val", "all"])
def test_nothing_but_training_cases_is_refused_with_no_other_part_to_try(
    select: Select, part: SplitName | None
) -> None:
    with pytest.raises(DatasetError, match=r"they are 2 train\. Give cases that the model was not trained on\."):
        select("tt", part)


# --- Labels and modalities


@pytest.fixture
def manifest(write_model: WriteModel) -> Manifest:
    """Of a model for organ 1 and lesion 4 on CT."""
    return read_manifest(write_model())


@pytest.mark.parametrize("labels", [{}, {"organ": 1, "lesion": 4}, {"lesion": 4, "organ": 1}])
@pytest.mark.parametrize("modalities", [(), ("CT",)])
def test_a_data_set_that_names_the_same_or_nothing_passes(
    manifest: Manifest, labels: dict[str, int], modalities: tuple[str, ...]
) -> None:
    check_declaration(dataset_of(labels=labels, modalities=modalities), manifest)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"organ": 4, "lesion": 1}, "organ=4, lesion=1"),
        ({"organ": 1}, "organ=1"),
        ({"organ": 1, "lesion": 4, "cyst": 5}, "organ=1, lesion=4, cyst=5"),
        ({"spleen": 1, "lesion": 4}, "spleen=1, lesion=4"),
    ],
)
def test_other_labels_are_refused(manifest: Manifest, labels: dict[str, int], found: str) -> None:
    expected = (
        rf"the model's labels \(organ=1, lesion=4\); found {found} in set/dataset\.json\. Where they mean the same"
    )
    with pytest.raises(DatasetError, match=expected):
        check_declaration(dataset_of(labels=labels), manifest)


def test_other_channels_and_the_same_in_another_order_are_refused(manifest: Manifest) -> None:
    with pytest.raises(DatasetError, match=r"the model's modalities \(CT\); found MR in"):
        check_declaration(dataset_of(modalities=("MR",)), manifest)
    both = manifest.model_copy(update={"modalities": ("T1w", "FLAIR")})
    with pytest.raises(DatasetError, match=r"the model's modalities \(T1w, FLAIR\); found FLAIR, T1w in"):
        check_declaration(dataset_of(modalities=("FLAIR", "T1w")), both)


def test_what_the_settings_of_the_training_renamed_passes_under_its_old_name(manifest: Manifest) -> None:
    renamed = {"dataset_labels": {"1": 1, "2": 4}, "dataset_modalities": ("scan",)}
    trained = manifest.model_copy(update={"provenance": manifest.provenance.model_copy(update=renamed)})
    check_declaration(dataset_of(labels={"1": 1, "2": 4}, modalities=("scan",)), trained)
    with pytest.raises(DatasetError, match=r"the model's labels"):
        check_declaration(dataset_of(labels={"1": 4, "2": 1}), trained)
