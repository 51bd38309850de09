"""Masks as DICOM segmentations (SEG), through highdicom.

Every identifier follows from what the object is made of, and its times are those of the scan, so that a rerun writes
the same object: two objects of one identifier that differ are an error to every archive.
"""

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError, UserError
from pipeline.files import atomic_path
from pipeline.formats.dicom.frames import OWN_GROUPS, SHARED_GROUPS, read_dataset
from pipeline.formats.dicom.volumes import Volume
from pipeline.formats.itk import LPS_TO_RAS

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom import Dataset

RESEARCH = "For research use only"
EMPTY = ("PatientName", "PatientID", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName")
UNKNOWN_TIMES = ("PatientBirthDate", "StudyDate", "StudyTime")
"""Elements of the patient and the study that have to be there and may be empty (PS3.3 C.7.1.1, C.7.2.1)."""
MADE_UP = ("StudyInstanceUID", "FrameOfReferenceUID")
"""Identifiers that have to be there; where a series lacks them, they follow from its own."""
SHARED_BY_FRAMES = ("PixelMeasuresSequence", "PlaneOrientationSequence")
"""The same for all frames of a volume, so that they may stand where highdicom looks for them."""
UTF_8 = "ISO_IR 192"
CONTENT_DATES, CONTENT_TIMES = (
    tuple(f"{of}{kind}" for of in ("Content", "Acquisition", "Series", "Study")) for kind in ("Date", "Time")
)
NO_DATE, NO_TIME = "19000101", "000000"
SERIES_NUMBER = 1000
LONGEST = 64
"""Characters of a "long string" (PS3.5, 6.2)."""


@dataclass(frozen=True)
class Code:
    """A coded concept, such as SNOMED's of an organ.

    Attributes:
        scheme: who defines it: SCT, DCM, FMA.
        value: of the code.
        meaning: in words.
    """

    scheme: str
    value: str
    meaning: str


TISSUE = Code("SCT", "85756007", "Tissue")
"""Category and type of a segment that no code is given for."""
ANATOMICAL = Code("SCT", "91723000", "Anatomical Structure")


@dataclass(frozen=True)
class Segment:
    """What a label of the mask is.

    Attributes:
        name: of the label.
        value: in the mask.
        category: coded, e.g. anatomical structure.
        kind: coded, e.g. liver.
        colour: red, green and blue, from 0 to 255.
    """

    name: str
    value: int
    category: Code = TISSUE
    kind: Code = TISSUE
    colour: tuple[int, int, int] = (255, 0, 0)


@dataclass(frozen=True)
class Algorithm:
    """What made the mask.

    Attributes:
        name: of the model.
        version: of the software, and of the weights.
    """

    name: str
    version: str


@dataclass(frozen=True, eq=False)
class _Order:
    """What an object is made of."""

    mask: NDArray[np.unsignedinteger]
    volume: Volume
    segments: Sequence[Segment]
    by: Algorithm

    def digest(self) -> str:
        """Text that is another one wherever anything about the object is."""
        content = hashlib.sha256(np.ascontiguousarray(self.mask).tobytes()).hexdigest()
        return repr((self.volume.name, self.volume.frames[0].series, content, tuple(self.segments), self.by))


def write_segmentation(
    target: Path, mask: NDArray[np.unsignedinteger], volume: Volume, *, segments: Sequence[Segment], by: Algorithm
) -> None:
    """Write a mask (I, J, K) as a segmentation of the series that it was made of, whole or not at all.

    Args:
        target: the file.
        mask: label values on the volume's own grid; may be empty.
        volume: the slices.
        segments: the labels, in the order of their values.
        by: what made it.

    Raises:
        ScanError: a file of the series can no longer be read, or lacks what a segmentation needs.
    """
    assert mask.shape == volume.header.shape, (mask.shape, volume.header.shape)
    order = _Order(mask, volume, segments, by)
    made_of = order.digest()
    with atomic_path(target) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values, which can be a patient's name, and so do errors and logs
        try:
            sources = [_completed(read_dataset(source)) for source in volume.paths]
            found = _segmentation(order, sources, made_of)
            _settle(found, sources[0], made_of)
            found.save_as(path, enforce_file_format=True)
        except (UserError, MemoryError, OSError):
            raise
        except Exception as error:  # what highdicom raises has no common type
            expected = "a series that a DICOM segmentation can refer to"
            reason = f"one that highdicom refuses ({type(error).__name__})"
            raise ScanError(expected, reason, "Convert the series to NIfTI (dcm2niix).") from None


def _uid(made_of: str, what: str) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[what, made_of]))


def _segmentation(order: _Order, sources: Sequence["Dataset"], made_of: str) -> "Segmentation":
    import highdicom as hd

    # highdicom's volumes have slices, rows and columns; an affine's columns are permuted with the axes
    affine = (LPS_TO_RAS @ order.volume.header.affine)[:, [2, 1, 0, 3]]
    numbered = np.zeros(order.mask.shape, np.min_scalar_type(len(order.segments)))
    for number, segment in enumerate(order.segments, start=1):
        numbered[order.mask == segment.value] = number
    pixels = hd.Volume(
        numbered.transpose(2, 1, 0),
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(segment, number, order.by, tracking=_uid(made_of, f"segment {number}"))
            for number, segment in enumerate(order.segments, start=1)
        ],
        series_instance_uid=_uid(made_of, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(made_of, "instance"),
        instance_number=1,
        manufacturer="medseg",
        manufacturer_model_name=_short(order.by.name),
        software_versions=_short(order.by.version),
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description=RESEARCH,
        series_description=_short(f"{RESEARCH}: {order.by.name}"),
    )


def _description(segment: Segment, number: int, by: Algorithm, *, tracking: str) -> "SegmentDescription":
    import highdicom as hd
    from highdicom.color import CIELabColor
    from pydicom.sr.codedict import codes

    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=_short(segment.name),
        segmented_property_category=_concept(segment.category),
        segmented_property_type=_concept(segment.kind),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=_short(by.name), version=_short(by.version), family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=tracking,
        tracking_id=_short(segment.name),
        display_color=CIELabColor.from_rgb(*segment.colour),
    )


def _short(text: str) -> str:
    r"""A text as elements of DICOM hold it: 64 characters at most, and no backslash, which divides several values."""
    return text.replace("\\", "/")[:LONGEST]


def _concept(code: Code) -> "CodedConcept":
    import highdicom as hd

    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _completed(source: "Dataset") -> "Dataset":
    """A source with the elements that the standard asks for, empty where it lacks them, and its text in UTF-8."""
    for name in (*EMPTY, *UNKNOWN_TIMES):
        if name not in source:
            setattr(source, name, None if name in UNKNOWN_TIMES else "")
    for name in MADE_UP:
        if not source.get(name):
            setattr(source, name, _uid(str(source.SeriesInstanceUID), name))
    source.decode()
    source.SpecificCharacterSet = UTF_8
    shared, own = source.get(SHARED_GROUPS), source.get(OWN_GROUPS)
    for name in SHARED_BY_FRAMES:
        if shared and own and name not in shared[0] and name in own[0]:
            setattr(shared[0], name, own[0][name].value)
    return source


def _settle(found: "Segmentation", source: "Dataset", made_of: str) -> None:
    """Put what follows from the scan in the place of what differs from run to run: times and random identifiers."""
    for names, unknown in ((CONTENT_DATES, NO_DATE), (CONTENT_TIMES, NO_TIME)):
        setattr(found, names[0], next((source.get(name) for name in names if source.get(name)), unknown))
    for name in ("InstanceCreationDate", "InstanceCreationTime"):
        with suppress(AttributeError):
            delattr(found, name)
    for equipment in found.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    organisation = _uid(made_of, "dimensions")
    for item in (*found.DimensionOrganizationSequence, *found.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
