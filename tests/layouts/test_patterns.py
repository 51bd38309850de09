from pathlib import Path

import pytest

from pipeline.config.data import DataConfig, FilesConfig
from pipeline.errors import DatasetError
from pipeline.layouts.discover import discover
from pipeline.layouts.patterns import channel_files, read
from tests.trees import touch

BRATS = FilesConfig(images=("{case}/Flair*.nii.gz", "{case}/T1c*.nii.gz"), masks=("{case}/OT.nii.gz",))
DRIVE = FilesConfig(
    images=("images/{case}_training.nii",),
    masks=("1st_manual/{case}_manual1.nii",),
    field_of_view="mask/{case}_mask.nii",
)


def test_a_case_has_a_file_a_channel(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{case}/{name}.nii.gz" for case in "ab" for name in ("Flair_sub", "T1c_sub", "OT", "brainmask")))
    found = read(tmp_path, BRATS)
    assert [(case.name, [path.name for path in case.images]) for case in found.cases] == [
        (case, ["Flair_sub.nii.gz", "T1c_sub.nii.gz"]) for case in "ab"
    ]
    assert found.channel_files == ("{case}/Flair*", "{case}/T1c*")


def test_files_are_matched_by_the_case_and_not_by_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "images/21_training.nii", "1st_manual/21_manual1.nii", "mask/21_mask.nii", "images/note.txt")
    (case,) = read(tmp_path, DRIVE).cases
    assert (case.name, case.images, case.mask, case.field_of_view) == (
        "21",
        (tmp_path / "images/21_training.nii",),
        tmp_path / "1st_manual/21_manual1.nii",
        tmp_path / "mask/21_mask.nii",
    )
    assert read(tmp_path, DRIVE).channel_files == ()


def test_each_label_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "a_axon.nii", "a_myelin.nii", "b.nii", "b_axon.nii")
    files = FilesConfig(images=("{case}.nii",), masks=("{case}_axon.nii", "{case}_myelin.nii"))
    found = read(tmp_path, files)
    assert [(case.name, [path.name for path in case.masks]) for case in found.cases] == [
        ("a", ["a_axon.nii", "a_myelin.nii"])
    ]
    assert (found.unmasked, found.orphan_masks) == ((), ())  # a mask fits {case}.nii too
    assert found.incomplete == (("b", tmp_path / "b_myelin.nii"),)


def test_where_a_pattern_leaves_the_ending_open_only_scans_fit(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/a.json", "images/Thumbs.db", "masks/a.png")
    found = read(tmp_path, FilesConfig(images=("images/{case}.*",), masks=("masks/{case}.*",)))
    assert [case.image.name for case in found.cases] == ["a.png"]
    assert found.unmasked == ()


@pytest.mark.parametrize(
    ("patterns", "told_apart"),
    [
        (("flair/{case}.nii", "t1/{case}.nii"), ("flair/{case}", "t1/{case}")),
        (("imagesTr/{case}_0.nii", "imagesTr/{case}_1.nii"), ("{case}_0", "{case}_1")),
        (("a/b/x/{case}/scan.nii", "a/b/y/{case}/scan.nii"), ("x/{case}/scan", "y/{case}/scan")),
    ],
)
def test_channels_are_told_apart_by_their_folder_where_their_names_are_alike(
    patterns: tuple[str, ...], told_apart: tuple[str, ...]
) -> None:
    assert channel_files(patterns) == told_apart


def test_what_a_case_lacks_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/Flair.nii.gz", "a/OT.nii.gz", "b/Flair.nii.gz", "b/T1c.nii.gz", "c/OT.nii.gz")
    found = read(tmp_path, BRATS.model_copy(update={"images": ("{case}/Flair.nii.gz", "{case}/T1c.nii.gz")}))
    assert found.cases == ()
    assert found.incomplete == (("a", tmp_path / "a/T1c.nii.gz"),)
    assert found.unmasked == (tmp_path / "b/Flair.nii.gz",)
    assert found.orphan_masks == (tmp_path / "c/OT.nii.gz",)


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/Flair_1.nii.gz", "a/Flair_2.nii.gz", "a/T1c.nii.gz", "a/OT.nii.gz")
    with pytest.raises(DatasetError, match=r"one file of the case a that fits .*; found Flair_1\.nii\.gz and Flair_2"):
        read(tmp_path, BRATS)


@pytest.mark.parametrize(
    ("images", "masks", "names"),
    [
        ("{case}/*.nii", "{case}/seg.nii", ("a/flair.nii", "a/seg.nii")),
        ("{case}.*", "{case}.png", ("a.jpg", "a.png")),
        ("{case}.nii", "{case}_mask.nii", ("a.nii", "a_mask.nii")),
    ],
)
def test_a_file_belongs_to_the_pattern_with_more_letters_of_its_own(
    tmp_path: Path, images: str, masks: str, names: tuple[str, str]
) -> None:
    (case,) = read(touch(tmp_path, *names), FilesConfig(images=(images,), masks=(masks,))).cases
    assert (case.name, case.image, case.mask) == ("a", tmp_path / names[0], tmp_path / names[1])


def test_patterns_that_nothing_fits_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "images/21_training.tif", "1st_manual/21_manual1.nii")
    with pytest.raises(DatasetError, match=r"0 that fit images/\{case\}_training\.nii, 1 that fit 1st_manual/"):
        discover(DataConfig(root=tmp_path, files=DRIVE))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"masks": ["{case}.nii"]}, "images must say where the scans are"),
        ({"images": ["scan.nii"]}, "a pattern needs {case} where the case's name is, found 'scan.nii'"),
        ({"images": ["{case}.nii", "{case}.nii"]}, "each pattern names other files"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(files: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        FilesConfig.model_validate(files)


def test_brackets_in_a_pattern_are_letters(tmp_path: Path) -> None:
    touch(tmp_path, "scan[1]/a.nii", "scan1/b.nii")
    found = read(tmp_path, FilesConfig(images=("scan[1]/{case}.nii",)))
    assert [path.parent.name for path in found.unmasked] == ["scan[1]"]


def test_the_voxels_of_a_scan_in_two_files_are_no_second_one(tmp_path: Path) -> None:
    found = read(touch(tmp_path, "a.mhd", "a.raw", "b.hdr", "b.img"), FilesConfig(images=("{case}.*",)))
    assert [path.name for path in found.unmasked] == ["a.mhd", "b.hdr"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/data/{case}.nii", "a pattern starts below root"),
        ("{case}/**/scan.nii", "the whole name of a folder, before the part with"),
        ("a**/{case}.nii", "the whole name of a folder"),
    ],
)
def test_patterns_that_lead_elsewhere_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FilesConfig(images=(pattern,))


def test_two_asterisks_stand_for_any_number_of_folders(tmp_path: Path) -> None:
    touch(
        tmp_path, "raw/a_SEM.png", "raw/s1/x/b_SEM.png", "masks/a_mask.png", "masks/s1/b_mask.png", "raw/s1/b_TEM.png"
    )
    found = read(tmp_path, FilesConfig(images=("raw/**/{case}_SEM.png",), masks=("**/{case}_mask.png",)))
    assert [(case.name, case.image.parent.name) for case in found.cases] == [("a", "raw"), ("b", "x")]
    assert (found.unmasked, found.elsewhere) == ((), ())


def test_files_of_such_names_in_other_folders_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "s1/a_SEM.png", "s1/a_mask.png", "s2/day1/b_SEM.png", "s2/day1/b_mask.png", "s2/day1/c.png")
    touch(tmp_path, ".cache/x/d_SEM.png")
    found = read(tmp_path, FilesConfig(images=("*/{case}_SEM.png",), masks=("*/{case}_mask.png",)))
    assert [(path.name, found.case_of(path)) for path in found.elsewhere] == [("b_SEM.png", "b")]
    plain = read(tmp_path, FilesConfig(images=("s1/{case}.png",)))  # anything could be called so
    assert plain.elsewhere == ()
