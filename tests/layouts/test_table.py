from pathlib import Path

import pytest

from pipeline.config.data import DataConfig
from pipeline.errors import DatasetError
from pipeline.layouts import table
from pipeline.layouts.discover import discover
from tests.trees import touch


def listed(root: Path, *lines: str) -> Path:
    (root / "cases.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_row_is_a_case_with_its_patient_and_the_order_of_its_channels(tmp_path: Path) -> None:
    touch(tmp_path, "x/flair.nii", "x/t1.nii", "x/seg.nii", "x/view.nii", "y/flair.nii", "y/t1.nii")
    listed(
        tmp_path,
        "case,image_1,image_0,mask,patient,field_of_view",
        "first,x/t1.nii,x/flair.nii,x/seg.nii,p1,x/view.nii",
        "second,y/t1.nii,y/flair.nii,,p1,",
    )
    found = discover(DataConfig(root=tmp_path, modalities=("FLAIR", "T1")))
    (case,), (scan,) = found.cases, found.unlabelled
    assert (case.name, case.patient, case.mask, case.field_of_view) == (
        "first",
        "p1",
        tmp_path / "x/seg.nii",
        tmp_path / "x/view.nii",
    )
    assert case.images == (tmp_path / "x/flair.nii", tmp_path / "x/t1.nii")
    assert (scan.name, scan.mask) == ("second", None)


def test_without_a_column_for_it_the_case_is_called_after_its_image(tmp_path: Path) -> None:
    listed(touch(tmp_path, "a.nii.gz", "m.nii.gz"), "image,mask", "a.nii.gz,m.nii.gz")
    (case,) = table.read(tmp_path).cases
    assert (case.name, case.patient) == ("a", "a")


@pytest.mark.parametrize(
    ("rows", "channels"),
    [
        (["p1,p1/flair.nii,p1/p1_t1.nii,", "p2,p2/flair.nii,p2/p2_t1.nii,"], ("{case}/flair", "{case}/{case}_t1")),
        (["p1,x/p1/f.nii,x/p1/t.nii,", "p2,y/p2/f.nii.gz,y/p2/t.nii.gz,"], ("{case}/f", "{case}/t")),
        (["a,x/flair.nii,x/t1.nii,", "b,y/flair.nii,y/t1.nii,"], ()),
        (["a,a_flair.nii,a_t1.nii,", "b,flair_b.nii,b_t1.nii,"], ()),
    ],
)
def test_channels_that_are_called_after_their_case_are_found_again_by_predict(
    tmp_path: Path, rows: list[str], channels: tuple[str, ...]
) -> None:
    names = [name for row in rows for name in row.split(",")[1:3]]
    found = table.read(listed(touch(tmp_path, *names), "case,image_0,image_1,mask", *rows))
    assert found.channel_files == channels


def test_files_that_do_not_exist_are_named(tmp_path: Path) -> None:
    listed(touch(tmp_path, "a.nii"), "image,mask", "a.nii,none.nii")
    found = table.read(tmp_path)
    assert (found.cases, found.incomplete) == ((), (("a", tmp_path / "none.nii"),))


def test_every_case_that_lacks_a_file_is_named_with_it(tmp_path: Path) -> None:
    rows = ("a.nii,a_mask.nii,view.nii", "b.nii,b_mask.nii,view.nii")
    names = ("a.nii", "a_mask.nii", "b.nii", "b_mask.nii")
    found = table.read(listed(touch(tmp_path, *names), "image,mask,field_of_view", *rows))
    assert found.incomplete == (("a", tmp_path / "view.nii"), ("b", tmp_path / "view.nii"))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["case,scan", "a,b.nii"], "rows under the columns image and mask in .*; found the columns case, scan"),
        (["image,mask"], r"found no rows\. Add a row a case"),
        (
            ["case,image,label", "a,x.nii,y.nii"],
            r"the columns image and mask in .*; found the columns case, image, label\. Call the columns so",
        ),
        (["image,mask,patient", "x.nii,,p", "y.nii,,"], "a patient in every row of .*; found none in line 3"),
        (["case,image,mask", "a,x.nii,", "a,y.nii,"], "one row a case in .*; found several for a"),
        (["case,image,mask", "a,,"], "every image of a row in .*; found 0 of 1 in line 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, lines: list[str], problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        table.read(listed(tmp_path, *lines))


def test_the_tables_that_other_commands_write_are_no_data_sets(tmp_path: Path) -> None:
    assert not table.recognises(listed(tmp_path, "case,input,status,action,reason,seconds", "a,b,ok,done,,1"))
    assert not table.recognises(tmp_path / "nowhere")


def test_a_table_with_other_separators_is_recognised_and_says_so(tmp_path: Path) -> None:
    listed(tmp_path, "case;image;mask", "a;a.nii;m.nii")
    assert table.recognises(tmp_path)
    with pytest.raises(DatasetError, match=r"found the columns case;image;mask\. Separate the columns by commas"):
        table.read(tmp_path)


def test_a_row_without_one_of_its_channels_is_refused(tmp_path: Path) -> None:
    listed(touch(tmp_path, "a.nii"), "image_0,image_1,mask", "a.nii,,")
    with pytest.raises(DatasetError, match=r"every image of a row in .*; found 1 of 2 in line 2"):
        table.read(tmp_path)
