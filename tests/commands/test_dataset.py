"""What `train` and `check` begin with: every case is read, elsewhere, and divided."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.checks.case import CaseFacts, Inspection, inspect_case
from pipeline.commands import dataset as preliminaries
from pipeline.commands.dataset import CheckedDataset, check_for_training, check_mirroring, read_facts
from pipeline.commands.progress import progress_line
from pipeline.commands.run_folder import RunFolder
from pipeline.config.augmentation import AugmentationConfig
from pipeline.config.data import SplitConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.load import load_config
from pipeline.errors import ConfigError, DatasetError
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.split import Split

WriteVolume = Callable[..., Path]
QUIET = Console(quiet=True)
DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


@pytest.fixture
def root(tmp_path: Path, write_volume: WriteVolume) -> Path:
    """Five cases whose masks hold 0 and 2, the first one 5 as well; nothing names the labels."""
    for index, name in enumerate("abcde"):
        write_volume(tmp_path / "set" / "images" / f"{name}.nii.gz", np.full((4, 4, 4), index, np.int16))
        mask = np.zeros((4, 4, 4), np.uint8)
        mask[0, 0, :2] = 2, 5 if name == "a" else 2
        write_volume(tmp_path / "set" / "masks" / f"{name}.nii.gz", mask)
    return tmp_path / "set"


def checked(root: Path, *overrides: str) -> CheckedDataset:
    config = load_config(DEMO, [f"data.root={root}", *overrides])
    with progress_line(QUIET, "reading") as progress:
        return check_for_training(config, RunFolder(root.parent / "run"), progress)


def test_labels_that_nothing_names_are_called_after_the_values_in_the_masks(root: Path) -> None:
    found = checked(root, "inference.keep_largest=[label_5]")
    assert found.dataset.labels == {"label_2": 2, "label_5": 5}
    assert [finding.expected for finding in found.findings] == ["names of the labels", "names of the modalities"]


def test_settings_that_name_another_label_than_the_masks_hold_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="label_3"):
        checked(root, "inference.keep_largest=[label_3]")
    with pytest.raises(ConfigError, match=r"inference\.watershed\.labels; found label_3"):
        checked(root, "inference.watershed={labels: [label_3]}")
    for key in ("codes", "categories"):
        with pytest.raises(ConfigError, match=rf"data\.{key}; found label_3"):
            checked(root, f'data.{key}={{label_3: [SCT, "1", Thing]}}')


def test_a_mask_that_cannot_be_read_is_a_finding_though_nothing_names_the_labels(root: Path) -> None:
    (root / "masks" / "b.nii.gz").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"(?s)1 error.*a NIfTI file.*b \(masks/b\.nii\.gz\)"):
        checked(root)


def test_one_image_under_the_names_of_two_patients_is_refused_before_it_is_trained_and_tested_on(
    root: Path, write_volume: WriteVolume
) -> None:
    write_volume(root / "images" / "d.nii.gz", np.full((4, 4, 4), 1, np.float32))  # the values of b
    with pytest.raises(DatasetError, match=r"(?s)1 error.*images that differ.*the same values in b, d"):
        checked(root)


def test_a_file_that_its_reader_hangs_on_is_a_finding_like_any_other(
    tmp_path: Path, write_volume: WriteVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preliminaries, "inspect_case", inspect_and_hang_on_a)
    write_volume(tmp_path / "b.nii", np.zeros((4, 4, 4), np.int16))
    jobs = [Inspection(Case(name, (tmp_path / f"{name}.nii",), None, name), deep=False) for name in "ab"]
    with progress_line(QUIET, "reading") as progress:
        hung, sound = read_facts(jobs, InferenceConfig(read_deadline_seconds=2.0), progress)
    (finding,) = hung.findings
    assert (finding.severity, finding.case, finding.expected) == ("error", "a", "a scan that is read within 2 s")
    assert finding.remedy.startswith("Look whether the file or its disk is at fault")
    assert sound == CaseFacts("b", channels=1, spacing_mm=(1.0, 1.0, 1.0), shape=(4, 4, 4), unit="mm")


def inspect_and_hang_on_a(job: Inspection) -> CaseFacts:
    if job.case.name == "a":
        time.sleep(60)
    return inspect_case(job)


def test_a_pipe_is_no_scan_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii")  # to which nobody writes
    facts = inspect_case(Inspection(Case("a", (tmp_path / "a.nii",), None, "a"), deep=True))
    assert [finding.found for finding in facts.findings] == ["a pipe or a device"]


def test_labels_of_two_sides_are_mirrored_only_where_their_appearance_tells_them_apart() -> None:
    ventricles = {"right_ventricle": 1, "myocardium": 2, "left_ventricle": 3}
    with pytest.raises(ConfigError, match=r"Set augmentation\.mirror_axes=\[1, 2\]; or, .*sides_by_appearance=true"):
        check_mirroring(ventricles, AugmentationConfig())
    check_mirroring(ventricles, AugmentationConfig(mirror_axes=(1, 2)))
    check_mirroring(ventricles, AugmentationConfig(sides_by_appearance=True))


def test_content_that_was_trained_on_counts_as_such_whatever_else_it_is() -> None:
    parts = Split(train=("a",), validation=("b",), test=("c",), unused=("copy of a", "copy of c"))
    hashes = {"a": "1", "copy of a": "1", "b": "2", "c": "3", "copy of c": "3"}
    dataset = Dataset("set", Path(), {"front": 1}, ("MR",), ())
    known = CheckedDataset(dataset, parts, SplitConfig(), hashes, [])
    assert known.parts_by_hash() == {"1": "train", "2": "validation", "3": "test"}


def test_colours_are_changed_in_no_scan_that_has_none(root: Path) -> None:
    images = ["network.dimensions=2", "network.kernels=null", "network.strides=null", "training.patch_size=[16,16]"]
    with pytest.raises(ConfigError, match=r"images of three channels .* found an image of 1"):
        checked(root, *images, "augmentation.colour=0.5")
