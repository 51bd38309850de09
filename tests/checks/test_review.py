"""When a mask is to be looked at, and when not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.checks.review import intensity_reasons, repair_reasons, review_reasons, spacing_reasons
from pipeline.manifest import Manifest
from pipeline.metrics.structures import describe_structures
from pipeline.preprocessing.fitted import ClipNormalisation, ScanNormalisation
from pipeline.preprocessing.ranges import LabelRange, TrainingRanges
from pipeline.scan import Scan, ScanHeader
from tests.conftest import threshold_manifest

LABELS = {"organ": 1, "lesion": 4}
AFFINE = np.diag([10.0, 10.0, 10.0, 1.0])
RANGES = TrainingRanges(
    cases=20,
    labels={
        "organ": LabelRange(size=(8.0, 20.0), parts=1, absent_share=0.0, border_share=0.0),
        "lesion": LabelRange(size=(1.0, 5.0), parts=3, absent_share=0.5, border_share=0.5),
    },
    intensities=(((0.0, 10.0), (400.0, 600.0), (900.0, 1000.0)),),
    spacing_mm=((5.0, 10.0),) * 3,
    repaired_share=0.0,
)
CLIP = ClipNormalisation(low=0, high=1000, mean=500, std=100)


def manifest_of(ranges: TrainingRanges | None = RANGES, *, absolute: bool = True) -> Manifest:
    manifest = threshold_manifest()
    channel = CLIP if absolute else ScanNormalisation()
    preprocessing = manifest.preprocessing.model_copy(update={"channels": (channel,)})
    return manifest.model_copy(update={"ranges": ranges, "preprocessing": preprocessing})


def scan_of(low: float = 0.0, high: float = 1000.0) -> Scan:
    return Scan(np.linspace(low, high, 1000, dtype=np.float32).reshape(1, 10, 10, 10), AFFINE.copy(), Path("scan"))


def mask_of(*boxes: tuple[int, tuple[slice, ...]]) -> NDArray[np.uint8]:
    mask = np.zeros((10, 10, 10), np.uint8)
    for value, box in boxes:
        mask[box] = value
    return mask


ORGAN = (1, np.s_[2:4, 2:4, 2:5])
"""12 ml, away from the border."""


def reasons(mask: NDArray[np.uint8], **changes: Any) -> list[str]:
    scan, manifest = changes.get("scan", scan_of()), changes.get("manifest", manifest_of())
    return review_reasons(describe_structures(mask, scan, LABELS), scan, manifest)


def test_a_mask_as_in_training_has_no_reason() -> None:
    assert reasons(mask_of(ORGAN)) == []
    assert reasons(mask_of(ORGAN, (4, np.s_[0:1, 0:1, 0:2]))) == []  # lesions often lay at the border


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], "the mask is empty"),
        ([(4, np.s_[5:6, 5:6, 5:6])], "organ: not found"),
        ([(1, np.s_[2:4, 2:4, 2:3])], "organ: 4 ml, where training had 8 to 20 ml"),
        ([(1, np.s_[2:6, 2:6, 2:4])], "organ: 32 ml, where training had 8 to 20 ml"),
        ([(1, np.s_[0:2, 2:4, 2:5])], "organ: touches the border of the scan, where it may be cut off"),
        ([ORGAN, (1, np.s_[7:8, 7:8, 7:9])], "organ: in 2 parts, where training had 1 at most"),
    ],
)
def test_what_training_did_not_have_is_a_reason(boxes: list[tuple[int, tuple[slice, ...]]], expected: str) -> None:
    assert reasons(mask_of(*boxes)) == [expected]


def test_sizes_may_lie_half_as_much_again_beyond_those_of_training() -> None:
    assert reasons(mask_of((1, np.s_[2:4, 2:4, 2:9]))) == []  # 28 ml


def test_without_the_ranges_of_training_an_empty_mask_and_the_border_are_reasons() -> None:
    manifest = manifest_of(None)
    assert reasons(mask_of(), manifest=manifest) == ["the mask is empty"]
    assert reasons(mask_of((1, np.s_[0:9, 2:9, 2:9])), manifest=manifest) == [
        "organ: touches the border of the scan, where it may be cut off"
    ]


def test_what_no_training_case_had_is_a_reason() -> None:
    never = LabelRange(size=None, parts=0, absent_share=1.0, border_share=0.0)
    ranges = RANGES.model_copy(update={"labels": RANGES.labels | {"lesion": never}})
    found = reasons(mask_of(ORGAN, (4, np.s_[6:7, 6:7, 6:7])), manifest=manifest_of(ranges))
    assert found == ["lesion: found, though no training case had it"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1000.0, []),
        (
            2000.0,
            3000.0,
            [
                "intensities: 0.5 percentile 2005, where training had 0 to 10",
                "intensities: median 2500, where training had 400 to 600",
                "intensities: 99.5 percentile 2995, where training had 900 to 1000",
            ],
        ),
        (-1000.0, 1000.0, ["intensities: 0.5 percentile -990, where training had 0 to 10", "intensities: median 0"]),
    ],
)
def test_intensities_on_an_absolute_scale_are_compared(low: float, high: float, expected: list[str]) -> None:
    found = intensity_reasons(scan_of(low, high), manifest_of())
    assert [each[: len(start)] for each, start in zip(found, expected, strict=True)] == expected


def test_of_other_intensities_only_those_below_zero_count() -> None:
    manifest = manifest_of(absolute=False)
    assert intensity_reasons(scan_of(2000.0, 90000.0), manifest) == []
    assert intensity_reasons(scan_of(-10.0, 1000.0), manifest) == []  # as resampling leaves it
    assert intensity_reasons(scan_of(-1000.0, 1000.0), manifest) == [
        "intensities down to -990, where training had none below 0"
    ]


def test_a_scan_of_one_value_is_to_be_looked_at() -> None:
    found = intensity_reasons(scan_of(500.0, 500.0), manifest_of(absolute=False))
    assert found == ["all voxels of the scan have the value 500"]


def test_a_spacing_far_from_those_of_training_is_a_reason_which_the_header_tells() -> None:
    header = ScanHeader((10, 10, 10), 1, np.diag([10.0, 10.0, 25.0, 1.0]))
    assert spacing_reasons(header, manifest_of()) == ["spacing foot-head: 25 mm, where training had 5 to 10 mm"]
    assert spacing_reasons(replace(header, affine=np.diag([20.0, 2.5, 5.0, 1.0])), manifest_of()) == []
    assert spacing_reasons(replace(header, unit="px"), manifest_of()) == []


def test_a_repaired_geometry_is_a_reason_where_it_was_rare_in_training() -> None:
    repairs, expected = ("the spacing is a guess",), ["geometry repaired: the spacing is a guess"]
    assert repair_reasons((), manifest_of()) == []
    assert repair_reasons(repairs, manifest_of()) == expected
    assert repair_reasons(repairs, manifest_of(None)) == expected
    assert repair_reasons(repairs, manifest_of(RANGES.model_copy(update={"repaired_share": 1.0}))) == []
    assert reasons(mask_of(ORGAN), scan=replace(scan_of(), repairs=repairs)) == expected
