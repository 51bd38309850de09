from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.dicom.frames import DISTINGUISHING, Frame
from pipeline.formats.dicom.volumes import Volume, find_volumes
from tests.formats.dicom_files import AXIAL

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)  # columns run to the back, rows to the feet
ACQUISITION, ECHO = (DISTINGUISHING.index(name) for name in ("AcquisitionNumber", "EchoTime"))


def frame(z_mm: float, *, name: str = "", marks: dict[int, str] | None = None, **changed: object) -> Frame:
    texts = tuple((marks or {}).get(place, "") for place in range(len(DISTINGUISHING)))
    plain = Frame(Path(name or f"{z_mm}.dcm"), 0, "1.2.3", (4, 3), AXIAL, (10.0, 20.0, z_mm), (0.75, 0.5), texts)
    return replace(plain, **changed)  # type: ignore[arg-type]


def only(frames: Sequence[Frame]) -> Volume:
    (volume,) = find_volumes(frames)
    return volume


def problem(frames: Sequence[Frame]) -> str:
    found = only(frames).problem
    assert found is not None
    return str(found)


def test_slices_are_sorted_by_their_place_and_not_by_their_names() -> None:
    volume = only([frame(6.5, name="1"), frame(-6.5, name="2"), frame(0, name="10")])
    assert [each.position_mm[2] for each in volume.frames] == [-6.5, 0, 6.5]
    assert volume.problem is None


def test_the_affine_leads_from_voxels_to_right_front_and_head() -> None:
    header = only([frame(1), frame(7.5), frame(14)]).header
    assert header.shape == (4, 3, 3)
    # DICOM: left, back, head
    expected = np.array([[-0.75, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 6.5, 1], [0, 0, 0, 1]])
    np.testing.assert_allclose(header.affine, expected)


def test_slices_of_another_orientation_are_stacked_along_their_own_normal() -> None:
    frames = [frame(0, orientation=SAGITTAL, position_mm=(x, 5.0, 9.0)) for x in (4.0, 2.0, 0.0)]
    header = only(frames).header
    # the normal of a sagittal slice (back x feet) points to the right, so that the leftmost slice comes first
    expected = np.array([[0, 0, 2, -4], [-0.75, 0, 0, -5], [0, -0.5, 0, 9], [0, 0, 0, 1]])
    np.testing.assert_allclose(header.affine, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((0,), "two slices or more; found one, so that their distance is unknown"),
        ((0, 1, 3, 4), "a slice every 1 mm; found none between 1.00 and 3.00 mm"),
        ((0, 1, 2.2, 3.2), "slices at equal distances; found distances from 1 to 1.2 mm"),
        ((0, 1, 1, 2), "one slice at each place; found several at 1.00 mm, which nothing tells apart"),
    ],
)
def test_slices_that_make_up_no_volume_are_refused_with_the_reason(places: tuple[float, ...], message: str) -> None:
    assert message in problem([frame(z, name=f"{number}") for number, z in enumerate(places)])


def test_places_that_were_rounded_are_even() -> None:
    assert only([frame(z) for z in (0, 3.333, 6.667, 10.0)]).problem is None


def test_slices_that_are_shifted_within_their_planes_are_a_tilted_gantry() -> None:
    shifted = [frame(0, name=f"{n}", position_mm=(0.0, n * np.tan(np.radians(15)), float(n))) for n in range(4)]
    assert "a gantry tilted by 15.0 degrees" in problem(shifted)


def test_several_volumes_of_one_series_are_taken_apart_by_what_tells_them_apart() -> None:
    marks = [{ACQUISITION: "1", ECHO: echo} for echo in ("10", "20")]
    frames = [frame(z, name=f"{z}-{each[ECHO]}", marks=each) for z in (0, 1, 2) for each in marks]
    volumes = find_volumes(frames)
    assert [len(volume.frames) for volume in volumes] == [3, 3]
    assert all(len({each.marks for each in volume.frames}) == 1 for volume in volumes)
    assert len({volume.name for volume in volumes}) == 2


def test_marks_that_nothing_needs_take_nothing_apart() -> None:
    frames = [frame(z, marks={ACQUISITION: f"{z}"}) for z in (0, 1, 2)]
    assert only(frames).problem is None


def test_slices_of_another_size_spacing_or_orientation_are_another_volume() -> None:
    stack = [frame(z) for z in (0, 1, 2)]
    for other in ({"size": (8, 8)}, {"pixel_spacing_mm": (1.0, 1.0)}, {"orientation": SAGITTAL}):
        volumes = find_volumes([*stack, frame(5, name="other", **other)])
        assert [(len(volume.frames), volume.problem is None) for volume in volumes] == [(3, True), (1, False)]


def test_the_name_of_a_volume_depends_on_its_series_alone_and_not_on_what_lies_beside_it() -> None:
    stack, others = [frame(z) for z in (0, 1)], [frame(z, series="9.9") for z in (0, 1)]
    assert find_volumes(stack)[0].name in {volume.name for volume in find_volumes([*others, *stack])}
    assert len({volume.name for volume in find_volumes([*others, *stack])}) == 2


def test_half_of_one_contrast_beside_half_of_another_is_no_volume() -> None:
    frames = [frame(z, marks={ECHO: echo}) for echo, places in (("10", (0, 3, 6)), ("90", (9, 12, 15))) for z in places]
    assert "slices of one contrast and time; found several (EchoTime)" in problem(frames)


def test_marks_that_make_volumes_count_before_those_that_make_single_slices() -> None:
    numbered = enumerate((z, echo) for z in (0, 1, 2, 3) for echo in ("10", "20"))
    frames = [frame(z, name=f"{n}", marks={ACQUISITION: f"{n}", ECHO: echo}) for n, (z, echo) in numbered]
    assert [(len(volume.frames), volume.problem) for volume in find_volumes(frames)] == [(4, None), (4, None)]


def test_a_volume_that_has_fewer_slices_than_another_of_its_series_is_doubtful() -> None:
    places = {"10": (0, 1, 2, 3), "20": (0, 1, 2)}
    frames = [frame(z, name=f"{z}-{echo}", marks={ECHO: echo}) for echo, along in places.items() for z in along]
    whole, short = sorted(find_volumes(frames), key=lambda volume: -len(volume.frames))
    assert (whole.doubts, short.doubts) == ((), ("it has 3 slices, another volume of its series 4",))


def test_a_slice_that_is_split_off_makes_the_rest_doubtful() -> None:
    frames = [*(frame(z) for z in (0, 1, 2)), frame(3, belongs="another frame of reference")]
    rest, off = sorted(find_volumes(frames), key=lambda volume: -len(volume.frames))
    assert (rest.problem, rest.doubts) == (None, ("1 other part of its series cannot be used",))
    assert off.problem is not None


def test_places_that_drift_from_even_ones_are_refused() -> None:
    along = np.cumsum([3.012] * 100 + [2.988] * 100)
    assert "slices at equal distances" in problem([frame(float(z), name=f"{n}") for n, z in enumerate(along)])


PLACES = st.sampled_from([0.0, 1.0, 2.0, 2.004, 3.0, 4.5])
FRAMES = st.lists(
    st.builds(
        lambda z, folder, echo, series, size: frame(
            z, name=f"{folder}/{z}-{echo}-{series}", marks={ECHO: echo}, series=series, size=size
        ),
        PLACES,
        st.sampled_from("ab"),
        st.sampled_from(["10", "20"]),
        st.sampled_from(["1.2", "1.3"]),
        st.sampled_from([(4, 3), (4, 4)]),
    ),
    max_size=12,
)


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_slices_in_any_order_make_the_same_volumes_and_none_is_lost_or_used_twice(data: st.DataObject) -> None:
    frames = data.draw(FRAMES)
    volumes = find_volumes(frames)
    used = [each for volume in volumes for each in volume.frames]
    assert sorted(map(str, used)) == sorted(map(str, frames))
    shuffled = find_volumes(data.draw(st.permutations(frames)))
    assert {(volume.name, frozenset(map(str, volume.frames)), str(volume.problem)) for volume in shuffled} == {
        (volume.name, frozenset(map(str, volume.frames)), str(volume.problem)) for volume in volumes
    }


@settings(deadline=None, derandomize=True)
@given(FRAMES)
def test_a_volume_without_a_problem_has_one_slice_at_each_of_even_places(frames: list[Frame]) -> None:
    for volume in find_volumes(frames):
        if volume.problem is None:
            gaps = np.diff([each.position_mm[2] for each in volume.frames])
            assert len(gaps) > 0
            assert gaps.min() > 0.5
            assert gaps.max() - gaps.min() <= 0.02
            assert len({(each.series, each.size) for each in volume.frames}) == 1
