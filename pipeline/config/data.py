"""Where the scans and masks are, and who is trained, validated and tested on."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Section, Seed, refuse

BACKGROUND = "background"
CASE = "{case}"
CodeText = Annotated[str, Field(min_length=1, max_length=16)]
Code = tuple[CodeText, CodeText, Annotated[str, Field(min_length=1, max_length=64)]]
"""A concept in DICOM's terms (PS3.3, 8.8): the scheme's designator, the value and its meaning."""


class SplitConfig(Section):
    """How patients are divided. Patients, not scans: two scans of one patient never lie on both sides."""

    file: Path | None = None
    """A split that was written before (JSON); the settings below are then not used."""
    kind: Literal["fractions", "folds", "blocks"] = "fractions"
    """Fractions: one division into train, validation and test, at random. Folds: k-fold cross-validation without a test
    set. Blocks: for slices of a stack, of which neighbours look alike: the last ones by name are validated on, those
    before them tested on, and all before these trained on."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the patients that is validated on (fractions, blocks)."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the patients that is kept away until `evaluate` (fractions, blocks)."""
    folds: int = Field(5, ge=2)
    """How many folds (folds)."""
    fold: int = Field(0, ge=0)
    """Which fold is validated on, from 0 (folds)."""
    seed: Seed = 0
    """Seed of the division (fractions, folds)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.validation + self.test >= 1:
            problems.append(f"validation + test must leave patients to train on, found {self.validation + self.test}")
        if self.fold >= self.folds:
            problems.append(f"fold must be below folds = {self.folds}, found {self.fold}; folds are counted from 0")
        refuse(problems)
        return self


class MaskConfig(Section):
    """How the pixels of a mask's file say which structure they belong to; by default their values are the labels'."""

    threshold: float | None = None
    """For grey masks of one structure, whose edges may be blurred: what divides the structure (value 1) from the
    background. Where each label has a file of its own, in each of them."""
    marked: Literal["above", "below"] = "above"
    """Which side of the threshold is the structure."""
    colours: dict[str, tuple[int, int, int]] | None = None
    """For colour-coded masks: red, green and blue of each name in `labels`; [0, 0, 0] is the background unless a name
    has it, or `background` names another."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.threshold is not None and self.colours is not None:
            raise ValueError("threshold and colours both say how a mask is read; keep one")
        colours = list((self.colours or {}).values())
        if len(set(colours)) != len(colours):
            raise ValueError(f"colours must be distinct, found {colours}")
        if any(not 0 <= level < 2**16 for colour in colours for level in colour):
            raise ValueError(f"colours are levels from 0 to 255, or to 65535 where masks have 16 bits, found {colours}")
        if self.threshold is None and self.marked == "below":
            raise ValueError("marked says which side of a threshold is the structure; give threshold, or leave it out")
        return self


class FilesConfig(Section):
    """Where the files of a case lie: paths below `root` with the case's name as {case}.

    In them, * stands for any letters of a name, and ** for any number of folders above the case.
    """

    images: tuple[str, ...] = ()
    """The scan: one file, or a file a channel, e.g. ["{case}/flair.nii.gz", "{case}/t1c.nii.gz"]. Without any,
    data.layout says how the folder is arranged."""
    masks: tuple[str, ...] = ()
    """The mask: one file, e.g. ["1st_manual/{case}_manual1.gif"], or a file a label, in the order of their values. What
    is not zero in it belongs to the label; where it holds more than one such value, mask.threshold has to say."""
    field_of_view: str | None = None
    """An image that is not zero where the mask means anything; the other voxels count in no loss and no metric."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """All of them: of the images, the masks and the field of view."""
        return (*self.images, *self.masks, *(() if self.field_of_view is None else (self.field_of_view,)))

    @model_validator(mode="after")
    def _check(self) -> Self:
        patterns = self.patterns
        if not self.images and patterns:
            raise ValueError("images must say where the scans are; without it, leave masks and field_of_view out")
        nameless = [each for each in patterns if CASE not in each]
        refuse(f"a pattern needs {CASE} where the case's name is, found {each!r}" for each in nameless)
        refuse(f"a pattern starts below root, found {each!r}" for each in patterns if Path(each).is_absolute())
        refuse(
            f"** is the whole name of a folder, before the part with {CASE}, as in **/{CASE}.png; found {each!r}"
            for each in patterns
            if not _stand_for_folders(each)
        )
        if len(set(patterns)) != len(patterns):
            raise ValueError(f"each pattern names other files, found {patterns}")
        return self


def _stand_for_folders(pattern: str) -> bool:
    """Whether each ** is the name of a folder above the case's."""
    parts = Path(pattern).parts
    first = next((index for index, part in enumerate(parts) if CASE in part), len(parts))
    return all("**" not in part or (part == "**" and index < first) for index, part in enumerate(parts))


class DataConfig(Section):
    """A data set on disk."""

    root: Path
    """Folder of the data set: Medical Segmentation Decathlon and nnU-Net (dataset.json, imagesTr, labelsTr), pairs
    (images/ with masks/ or labels/), BIDS (sub-*/ with masks below derivatives/), table (cases.csv, a row a case), or
    flat (a_image beside a_label, or a beside a_mask)."""
    layout: Literal["auto", "decathlon", "pairs", "bids", "table", "flat"] = "auto"
    """How the folder is arranged; auto looks."""
    files: FilesConfig = FilesConfig()
    """Where the files of a case lie, for folders that are arranged in none of these ways."""
    labels: dict[str, int] | None = None
    """Name and mask value of each structure, background left out; by default from dataset.json or from the masks."""
    codes: dict[str, Code] = Field(default={})
    """What labels are, as DICOM's segmentations say it: who defines the code, the code, and what it means, such as
    {liver: [SCT, "10200004", Liver]} of SNOMED (SCT). A label without a code is coded as tissue."""
    categories: dict[str, Code] = Field(default={})
    """What kind of thing they are, in the same way: [SCT, "49755003", Morphologically Abnormal Structure] of a tumour.
    By default [SCT, "91723000", Anatomical Structure] of a label with a code."""
    mask: MaskConfig = MaskConfig()
    """How masks are coded."""
    modalities: tuple[str, ...] | None = None
    """One name a channel, e.g. [CT] or [FLAIR, T1w]; "CT" chooses CT intensities. By default from dataset.json."""
    patient_pattern: str | None = None
    """Regular expression searched in the case's name; its first group is the patient, e.g. "^(.*?)_". By default each
    case is a patient."""
    patient_table: Path | None = None
    """CSV with a column `case` and the column below, instead of a pattern."""
    patient_column: str = "patient"
    """The column of patient_table that holds the patient."""
    split: SplitConfig = SplitConfig()
    """Who is trained, validated and tested on."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.patient_pattern is not None and self.patient_table is not None:
            problems.append("patient_pattern and patient_table both name the patient; keep one")
        values = list((self.labels or {}).values())
        if len(set(values)) != len(values) or not all(0 < value < 2**16 for value in values):
            problems.append(f"labels must be distinct whole values between 1 and 65535, found {values}")
        files = len(self.files.masks)
        if files > 1 and files != len(values):
            problems.append(f"files.masks names {files} files a case, one a label, but labels has {len(values)}")
        coded = {*self.codes, *self.categories}
        if self.labels is not None and not coded <= set(self.labels):
            problems.append(f"codes and categories must be of what labels names, found {sorted(coded)}")
        coloured = set(self.mask.colours or {}) - {BACKGROUND}
        if self.mask.colours is not None and coloured != set(self.labels or {}):
            problems.append(f"mask.colours must name what labels names, found {sorted(coloured)}")
        if self.mask.colours is not None and files > 1:
            problems.append("mask.colours names the labels of one file; keep it, or a file a label in files.masks")
        if files > 1 and values != sorted(values):
            problems.append(
                f"files.masks has the order of the values in labels; list these from the lowest, found {values}"
            )
        if self.mask.threshold is not None and files <= 1 and values not in ([], [1]):
            problems.append(f"mask.threshold makes one structure with the value 1, found labels with {values}")
        refuse(problems)
        return self
