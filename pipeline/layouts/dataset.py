"""What every layout of files is turned into."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.layouts.scan_files import case_name
from pipeline.preprocessing.coding import PLAIN, MaskCoding


@dataclass(frozen=True)
class Case:
    """A scan, and its mask where there is one.

    Attributes:
        name: unique among the cases of a data set.
        images: the scan's files, one or several whose channels follow each other.
        mask: the mask's file; None for scans that are not meant to have one.
        patient: cases of one patient never lie in different parts of a split. It can identify a person, so that
            messages and logs name the case instead.
        field_of_view: an image that is not zero where a mask means anything; None where it does everywhere.
        coding: how the mask's pixels say which structure they belong to.
        further_masks: where each label has a file of its own, those of the labels after the first.
    """

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    patient: str
    field_of_view: Path | None = None
    coding: MaskCoding = PLAIN
    further_masks: tuple[Path, ...] = ()

    @property
    def masks(self) -> tuple[Path, ...]:
        """All files of the mask; none for scans that are not meant to have one."""
        return () if self.mask is None else (self.mask, *self.further_masks)

    @property
    def image(self) -> Path:
        """The scan's first file."""
        return self.images[0]


@dataclass(frozen=True)
class Dataset:
    """A data set, and everything about its files that does not add up.

    Attributes:
        name: for titles and provenance.
        root: the folder.
        labels: name and mask value of each structure, in the order of the values, without the background; empty until
            the masks are read where nothing names them.
        modalities: one name a channel.
        cases: image and mask, sorted by name; what is trained and evaluated on.
        unlabelled: scans that are not meant to have a mask (imagesTs), sorted by name.
        channel_files: where each channel has a file of its own: the pattern of its name among scans to predict, without
            the ending, with ``{case}`` for the case's name; empty where a scan is one file.
        declared: whether the configuration or dataset.json names the labels; otherwise they are called after the
            values in the masks.
        modalities_declared: whether the configuration or dataset.json names the modalities; otherwise they are assumed.
        own_labels: the labels that dataset.json names, whatever the configuration says; empty where it names none.
        own_modalities: the modalities that dataset.json names, in the same way.
        loose_match: an image and its mask, for example, where names were matched by what tells them apart; else empty.
        unmasked: images among the labelled ones that have no mask.
        orphan_masks: masks that have no image.
        missing: files that dataset.json lists for training and that do not exist.
        incomplete: the name of a case, and a file that it lacks while it has others.
        missing_unlabelled: files that dataset.json lists for testing and that do not exist.
        unlisted: images (for training, those with a mask) that exist and that dataset.json does not list.
        ignored: files beside the scans whose format is not read.
        elsewhere: images, going by their names, in folders that data.files does not lead to.
        stray_cases: the cases of images and masks without the other, where these are not called after their case.
        layout: how the folder is arranged, and by which sign that was seen.
    """

    name: str
    root: Path
    labels: dict[str, int]
    modalities: tuple[str, ...]
    cases: tuple[Case, ...]
    unlabelled: tuple[Case, ...] = ()
    channel_files: tuple[str, ...] = ()
    declared: bool = True
    modalities_declared: bool = True
    own_labels: dict[str, int] = field(default_factory=dict)
    own_modalities: tuple[str, ...] = ()
    loose_match: str = ""
    unmasked: tuple[Path, ...] = ()
    orphan_masks: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    incomplete: tuple[tuple[str, Path], ...] = ()
    missing_unlabelled: tuple[Path, ...] = ()
    unlisted: tuple[Path, ...] = ()
    ignored: tuple[Path, ...] = ()
    elsewhere: tuple[Path, ...] = ()
    stray_cases: dict[Path, str] = field(default_factory=dict)
    layout: str = ""

    def case_of(self, path: Path) -> str:
        """The name of the case of an image or a mask without the other."""
        return self.stray_cases.get(path) or case_name(path)

    def files(self) -> frozenset[Path]:
        """Everything that the layout found, whether it adds up or not."""
        cases = (*self.cases, *self.unlabelled)
        views = (case.field_of_view for case in cases if case.field_of_view is not None)
        return frozenset(
            [
                *(path for case in cases for path in (*case.images, *case.masks)),
                *views,
                *self.unmasked,
                *self.orphan_masks,
                *self.unlisted,
                *self.ignored,
                *self.elsewhere,
            ]
        )
