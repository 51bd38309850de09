"""The table of formats: what a file is, by its name and by its content, and where its mask goes."""

import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.formats.foreign import FOREIGN_FORMATS
from pipeline.scan import Scan
from tests.formats.pngs import png

VOXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def touch(path: Path) -> Path:
    path.touch()
    return path


class TestNames:
    @pytest.mark.parametrize(
        ("name", "case"),
        [
            *(("a.b.nii.gz", "a.b"), ("A.NII", "A"), ("a.gz", None), ("nii", None), (".nii", None)),
            *(("a.nrrd", "a"), ("a.nhdr", "a"), ("a.MHA", "a"), ("a.mhd", "a"), ("a.mgh.gz", "a"), ("a.mnc", "a")),
            *(("a+orig.HEAD", "a+orig"), ("a+orig.BRIK.gz", "a+orig"), ("a.hdr", "a"), ("a.img.gz", "a")),
            *(("a.png", "a"), ("a.JPG", "a"), ("a.jpeg", "a"), ("a.tif", "a"), ("a.TIFF", "a"), ("a.gif", "a")),
            *(("a.bmp", "a"), ("a.dcm", None), ("a.mif", None), ("a.txt", None), ("a.raw", None), ("a", None)),
        ],
    )
    def test_the_case_is_the_name_without_its_ending(self, tmp_path: Path, name: str, case: str | None) -> None:
        folder = tmp_path / "folder.nii"
        folder.mkdir()
        assert registry.case_name(touch(folder / name)) == case

    @pytest.mark.parametrize(
        ("name", "case"), [("a.dcm", "a"), ("a.mif.gz", "a"), ("a.nii.gz", "a"), ("a.txt", "a.txt"), ("a", "a")]
    )
    def test_known_formats_that_are_not_read_have_names_of_cases_too(self, name: str, case: str) -> None:
        assert registry.any_case_name(Path(name)) == case

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            *(("a.hdr", "a.img"), ("a.hdr", "a.IMG.gz"), ("a.HDR", "a.img"), ("a.hdr.gz", "a.img.gz")),
            *(("a+orig.HEAD", "a+orig.BRIK"), ("a+orig.head", "a+orig.brik.gz")),
            *(("a.mhd", "a.raw"), ("a.mhd", "a.zraw"), ("a.nhdr", "a.raw.gz")),
        ],
    )
    def test_a_second_file_belongs_to_the_first_that_lies_beside_it(
        self, tmp_path: Path, first: str, second: str
    ) -> None:
        touch(tmp_path / second)
        assert registry.belongs_to(tmp_path / second) is None
        touch(tmp_path / first)
        assert registry.belongs_to(tmp_path / second) == tmp_path / first
        assert registry.belongs_to(tmp_path / first) is None
        assert registry.case_name(tmp_path / second) is None
        assert registry.case_name(tmp_path / first) is not None

    @pytest.mark.parametrize(("other", "second"), [("a.nii", "a.img"), ("b.hdr", "a.img"), ("a.mha", "a.raw")])
    def test_other_files_have_no_second(self, tmp_path: Path, other: str, second: str) -> None:
        touch(tmp_path / other)
        assert registry.belongs_to(touch(tmp_path / second)) is None

    def test_no_ending_is_of_two_formats(self) -> None:
        foreign = [ending for each in FOREIGN_FORMATS for ending in each.endings]
        endings = [*registry.ENDINGS, *foreign]
        assert len(set(endings)) == len(endings)
        assert all(ending == ending.lower() and ending.startswith(".") for ending in endings)


class TestContent:
    @pytest.mark.parametrize("name", ["scan.jpg", "scan.tif", "scan.nii", "scan.mif", "scan"])
    def test_a_png_is_read_as_one_whatever_it_is_called(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(png(VOXELS[0], 8, 0))
        scan = registry.read_scan(tmp_path / name)
        assert (scan.format, scan.source) == ("PNG", tmp_path / name)
        assert registry.mask_ending(scan) == ".png"

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("scan.nii", bytes(128) + b"DICM", r"found DICOM\. Convert it to NIfTI \(dcm2niix\)"),
            ("IM0001", bytes(128) + b"DICM", "found DICOM"),
            ("scan.dcm", b"without a preamble", "found DICOM"),
            ("scan.nii", b"mrtrix image\n", r"found MRtrix\. Convert it to NIfTI \(mrconvert\)"),
            ("scan.webp", b"RIFF", "found WebP"),
            ("scan.svs", b"II*\0", "found a slide scanner's own format"),
            ("scan.txt", b"hello", "a format that is read (NIfTI, .*); found another file"),
            ("scan", b"", "found another file"),
            ("scan.nrrd", b"hello", "a NRRD file; found one that does not begin with NRRD"),
            ("scan.head", b"hello", "a .HEAD beside a .BRIK of the same name; found scan.head alone"),
        ],
    )
    def test_what_is_not_read_is_refused_with_the_reason(
        self, tmp_path: Path, name: str, content: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        for read in (registry.read_header, registry.read_scan, registry.read_mask):
            with pytest.raises(ScanError, match=message.replace("(NIfTI, .*)", r"\(NIfTI, .*\)")):
                read(tmp_path / name)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        import os

        os.mkfifo(tmp_path / "scan.nrrd")
        with pytest.raises(ScanError, match="Expected a file; found a pipe or a device"):
            registry.read_scan(tmp_path / "scan.nrrd")

    @pytest.mark.parametrize("name", ["a.nrrd", "a.mhd", "a.png", "a.tif", "a.mgz", "a.mnc", "a.HEAD", "a.img"])
    def test_a_file_that_is_not_there_is_an_error_of_the_path(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ScanError, match=r"found No such file or directory\. Check the path"):
            registry.read_scan(tmp_path / name)


class TestMasks:
    @pytest.mark.parametrize(
        ("source", "kind", "ending"),
        [
            *(("a.nii", "NIfTI", ".nii"), ("a.NII.GZ", "NIfTI", ".nii.gz"), ("a.img", "NIfTI", ".nii.gz")),
            *(("a.nrrd", "NRRD", ".nrrd"), ("a.nhdr", "NRRD", ".nrrd"), ("a.mhd", "MetaImage", ".mha")),
            *(("a.mgh", "FreeSurfer", ".mgh"), ("a.mgh.gz", "FreeSurfer", ".mgz"), ("a.HEAD", "AFNI", ".nii.gz")),
            *(("a.mnc", "MINC", ".nii.gz"), ("a", "", ".nii.gz"), ("a.dcm", "DICOM", ".nii.gz")),
        ],
    )
    def test_a_volume_s_mask_is_in_its_format_or_in_nifti(self, source: str, kind: str, ending: str) -> None:
        scan = Scan(VOXELS[None].copy(), np.eye(4), Path(source), format=kind)
        assert registry.mask_ending(scan) == ending

    @pytest.mark.parametrize(
        ("source", "kind", "pages", "ending"),
        [
            *(("a.png", "PNG", 1, ".png"), ("a.jpg", "JPEG", 1, ".png"), ("a.gif", "GIF", 1, ".png")),
            *(("a.bmp", "BMP", 1, ".png"), ("a.tiff", "TIFF", 1, ".tif"), ("a.tif", "TIFF", 4, ".tif")),
            *(("a.mha", "MetaImage", 1, ".mha"), ("a", "", 1, ".png"), ("a", "", 2, ".tif")),
        ],
    )
    def test_a_picture_s_mask_is_in_its_format_or_in_png(self, source: str, kind: str, pages: int, ending: str) -> None:
        array = np.zeros((1, 3, 4, pages), np.uint8)
        assert registry.mask_ending(Scan(array, np.eye(4), Path(source), "px", kind)) == ending


class TestHashes:
    def test_a_single_file_has_its_own_hash(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png(VOXELS[0], 8, 0))
        expected = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
        assert registry.content_sha256([tmp_path / "a.png"]) == expected

    def test_of_a_scan_in_two_files_both_count(self, tmp_path: Path) -> None:
        nibabel.Nifti1Pair(VOXELS, np.eye(4)).to_filename(tmp_path / "a.hdr")
        before = registry.content_sha256([tmp_path / "a.hdr"])
        assert registry.content_sha256([tmp_path / "a.img"]) == before
        voxels = bytearray((tmp_path / "a.img").read_bytes())
        voxels[5] ^= 1
        (tmp_path / "a.img").write_bytes(voxels)
        assert registry.content_sha256([tmp_path / "a.hdr"]) != before
