from pathlib import Path

import pytest
import yaml

from pipeline.config.data import DataConfig, FilesConfig
from pipeline.errors import DatasetError
from pipeline.layouts import bids, patterns
from pipeline.layouts.discover import discover
from tests.trees import touch

SPLEEN = ("sub-1/ct/sub-1_ct.nii.gz", "derivatives/labels/sub-1/ct/sub-1_ct_seg-manual.nii.gz")


def test_a_mask_belongs_to_the_image_whose_name_it_continues_and_scans_of_a_subject_to_one_patient(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "sub-1/ses-1/anat/sub-1_ses-1_T2w.nii.gz", "sub-1/ses-2/anat/sub-1_ses-2_T2w.nii.gz")
    touch(tmp_path / "derivatives/labels/sub-1", *(f"ses-{n}/anat/sub-1_ses-{n}_T2w_seg-manual.nii.gz" for n in (1, 2)))
    assert bids.recognises(tmp_path)
    found = discover(DataConfig(root=tmp_path, modalities=("MR",)))
    assert [(case.name, case.patient) for case in found.cases] == [
        ("sub-1_ses-1_T2w", "sub-1"),
        ("sub-1_ses-2_T2w", "sub-1"),
    ]
    assert found.cases[0].mask == (tmp_path / "derivatives/labels/sub-1/ses-1/anat/sub-1_ses-1_T2w_seg-manual.nii.gz")


def test_the_standards_own_segmentations_share_the_entities_of_their_image(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-10/anat/sub-10_T1w.nii.gz")
    touch(tmp_path / "derivatives/seg", *(f"{sub}/anat/{sub}_space-T1w_dseg.nii.gz" for sub in ("sub-1", "sub-10")))
    (tmp_path / "derivatives/seg/dseg.tsv").write_text("index\tname\n0\tbackground\n2\tcord\n1\tcanal\n")
    found = bids.read(tmp_path)
    assert [case.name for case in found.cases] == ["sub-10_T1w", "sub-1_T1w"]
    assert found.labels == {"canal": 1, "cord": 2}


def test_scans_without_a_mask_are_not_trained_on(tmp_path: Path) -> None:
    touch(tmp_path, *SPLEEN, "sub-2/ct/sub-2_ct.nii.gz")
    assert [case.name for case in bids.read(tmp_path).unlabelled] == ["sub-2_ct"]


def test_masks_of_no_image_are_kept_apart(tmp_path: Path) -> None:
    folder = "derivatives/labels/{0}/anat/{0}_T1w_seg-manual.nii.gz"
    touch(tmp_path, "sub-06/anat/sub-06_T1w.nii.gz", "sub-07/anat/sub-07_acq-x_T1w.nii.gz")
    touch(
        tmp_path, folder.format("sub-06"), folder.format("sub-07"), "derivatives/fmriprep/sub-07_desc-preproc_T2w.nii"
    )
    found = bids.read(tmp_path)
    assert [case.name for case in found.cases] == ["sub-06_T1w"]
    assert found.orphan_masks == (tmp_path / folder.format("sub-07"),)


def test_where_no_mask_has_an_image_none_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_ses-1_T1w.nii.gz", "derivatives/sub-1_run-2_dseg.nii.gz")
    found = bids.read(tmp_path)
    assert (found.cases, found.orphan_masks) == ((), (tmp_path / "derivatives/sub-1_run-2_dseg.nii.gz",))


def test_several_kinds_of_masks_are_listed_with_the_settings_that_choose_one(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_T2w.nii.gz")
    names = ("sub-1_T1w_seg-manual", "sub-1_T1w_lesion-manual", "sub-1_T2w_seg-manual")
    touch(tmp_path / "derivatives/labels/sub-1/anat", *(f"{name}.nii.gz" for name in names))
    kinds = r"lesion-manual of T1w \(1\), seg-manual of T1w \(1\), seg-manual of T2w \(1\)"
    with pytest.raises(DatasetError, match=kinds) as told:
        bids.read(tmp_path)
    assert 'images: ["sub-*/anat/{case}_T1w.nii.gz"]' in told.value.remedy
    assert 'data.patient_pattern="^(sub-[^_]+)"' in told.value.remedy
    assert 'masks: ["derivatives/labels/sub-*/anat/{case}_T1w_lesion-manual.nii.gz"]' in told.value.remedy


def test_the_settings_find_images_that_lie_at_different_depths(tmp_path: Path) -> None:
    for names, ending in (("sub-1/micr/sub-1_SEM", "png"), ("sub-2/ses-1/micr/sub-2_ses-1_SEM", "tif")):
        touch(tmp_path, f"{names}.{ending}", f"derivatives/copies/{names}.{ending}")
        touch(tmp_path / "derivatives/labels", f"{names}_seg-axon.png", f"{names}_seg-myelin.png")
    with pytest.raises(DatasetError) as told:
        bids.read(tmp_path)
    files = FilesConfig.model_validate(
        yaml.safe_load(told.value.remedy.partition("data.files=")[2].partition(", with")[0])
    )
    assert [case.name for case in patterns.read(tmp_path, files).cases] == ["sub-1", "sub-2_ses-1"]


def test_images_of_several_kinds_without_masks_are_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_T2w.nii.gz")
    with pytest.raises(DatasetError, match="no masks, and images of the kinds T1w, T2w"):
        bids.read(tmp_path)


def test_a_folder_that_is_only_called_like_a_subject_is_no_bids(tmp_path: Path) -> None:
    assert not bids.recognises(touch(tmp_path, "sub-1/scan.nii.gz"))


def labelled(root: Path, *tables: tuple[str, str]) -> Path:
    touch(root, *SPLEEN)
    for path, text in tables:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_a_table_of_labels_of_other_derivatives_says_nothing(tmp_path: Path) -> None:
    own = ("derivatives/labels/desc-spleen_dseg.tsv", "index\tname\n1\tspleen\n")
    stray = ("derivatives/freesurfer/desc-aparcaseg_dseg.tsv", "index\tname\n1\tcortex\n")
    assert bids.read(labelled(tmp_path, own, stray)).labels == {"spleen": 1}


def test_tables_that_disagree_are_refused(tmp_path: Path) -> None:
    tables = (("dseg.tsv", "index\tname\n1\tliver\n"), ("derivatives/labels/dseg.tsv", "index\tname\n1\tspleen\n"))
    with pytest.raises(
        DatasetError, match=r"agree on the labels; found others in dseg\.tsv, derivatives/labels/dseg\.tsv"
    ):
        bids.read(labelled(tmp_path, *tables))


@pytest.mark.parametrize("content", [b"index\tname\n1.0\tspleen\n", "index\tname\n1\tMilz\u00e4\n".encode("latin-1")])
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    touch(tmp_path, *SPLEEN, "dseg.tsv")
    (tmp_path / "dseg.tsv").write_bytes(content)
    with pytest.raises(DatasetError, match="a table of labels with the columns index and name"):
        bids.read(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *SPLEEN, "sub-1/ct/sub-1_ct.png")
    with pytest.raises(DatasetError, match="one image, or one mask, for the case sub-1_ct"):
        bids.read(tmp_path)
