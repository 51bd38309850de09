"""What is wrong with a data set as a whole, from what looking at each of its cases gave."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import sizes
from pipeline.checks.case import WHITE, CaseFacts, Inspection
from pipeline.checks.findings import Finding, Severity
from pipeline.formats import registry
from pipeline.layouts.dataset import Dataset
from pipeline.preprocessing.labels import MAX_LABELS
from pipeline.wording import count_of, enumerate_names, times

ODD_SPACING = 5.0
"""Factor from the usual spacing along an axis, above which it is worth a look."""
SHARED_NAMES = 0.2
"""Groups of cases with like names, a case: with fewer, names number the cases of a study, not those of patients."""


def inspections(dataset: Dataset, *, deep: bool, declared: bool = True) -> list[Inspection]:
    """The cases of a data set to look at, with and without a mask.

    Args:
        dataset: the data set.
        deep: whether to read the voxels.
        declared: whether masks and channels are held against what the data set is said to have.
    """
    labels = frozenset(dataset.labels.values()) if dataset.declared and declared else None
    channels = len(dataset.modalities) if declared else None
    return [Inspection(case, deep, labels, channels) for case in (*dataset.cases, *dataset.unlabelled)]


def name_labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> Dataset:
    """The same data set, its labels called ``label_<value>`` after what its masks hold, where nothing names them."""
    if dataset.declared:
        return dataset
    return replace(dataset, labels={f"label_{value}": value for value in sorted(_held(facts))})


def dataset_findings(dataset: Dataset, facts: Sequence[CaseFacts], *, dimensions: int | None = None) -> list[Finding]:
    """The findings of all cases and those of the data set as a whole, sorted by severity and case.

    Args:
        dataset: as `name_labels` gives it.
        facts: what `inspect_case` found.
        dimensions: axes of the network that is to learn from it; None where no configuration says it.
    """
    findings = [
        *_file_findings(dataset),
        *_name_findings(dataset),
        *_label_findings(dataset, facts),
        *_case_findings(dataset, facts),
        *_duplicates(dataset, facts),
        *_odd_spacings(facts),
        *_mixed_units(facts),
        *_flat_cases(dataset, facts, dimensions),
        *_assumed_modalities(dataset),
        *_shared_names(dataset),
    ]
    return sorted(findings, key=lambda finding: (finding.severity, finding.case))


def _case_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """What is wrong with single cases; a scan that nothing is learnt from does not stand in the way of training."""
    unlabelled = {case.name for case in dataset.unlabelled}
    return [
        replace(finding, severity="warning") if each.case in unlabelled else finding
        for each in facts
        for finding in each.findings
    ]


def _file_findings(dataset: Dataset) -> list[Finding]:
    """What the names of the files give away."""
    add_mask = "Add it, or move the image out of the folder of those that have one."
    elsewhere = "images with the same kind of name in other folders, left out"
    widen = (
        "If they belong to the data set, widen data.files (** stands for any number of folders); if not, leave them."
    )
    listed, copy = (
        "the files that dataset.json lists",
        "Copy it from where the data set came from, or take it off the list.",
    )
    kinds: list[tuple[Severity, tuple[Path, ...], str, str, str]] = [
        ("error", dataset.unmasked, "a mask for every image", "none", add_mask),
        ("error", dataset.orphan_masks, "an image for every mask", "none", "Add it, or remove the mask."),
        ("error", dataset.missing, listed, "no such file", copy),
        ("warning", dataset.missing_unlabelled, listed, "no such file", copy),
        ("warning", dataset.unlisted, "only files that dataset.json lists", "others", "List it, or remove it."),
        ("warning", dataset.elsewhere, "images where data.files says", elsewhere, widen),
    ]
    strays = [
        Finding(severity, dataset.case_of(path), expected, found, remedy, _shown(path, dataset.root))
        for severity, paths, expected, found, remedy in kinds
        for path in paths
    ]
    lacking = [
        Finding(
            "error",
            case,
            "every file of a case",
            "no such file",
            "Add it, or move the case elsewhere.",
            _shown(path, dataset.root),
        )
        for case, path in dataset.incomplete
    ]
    return strays + lacking + _ignored(dataset)


def _name_findings(dataset: Dataset) -> list[Finding]:
    """Masks that were matched by a guess, and files of channels that `predict` would not find again."""
    return [*_guessed_masks(dataset), *_unnamed_channels(dataset)]


def _guessed_masks(dataset: Dataset) -> list[Finding]:
    if not dataset.loose_match:
        return []
    found = f"other names, matched by what tells them apart, such as {dataset.loose_match}"
    remedy = "Look whether these belong together; data.files says it without a guess."
    return [Finding("warning", "", "masks that are called after their images", found, remedy)]


def _unnamed_channels(dataset: Dataset) -> list[Finding]:
    several = [case for case in dataset.cases if len(case.images) > 1]
    if not several or len(set(dataset.channel_files)) == len(several[0].images):
        return []
    expected = "files of channels that are called after their case, and otherwise alike in all cases"
    shown = (f"{' and '.join(path.name for path in case.images)} of {case.name}" for case in (several[0], several[-1]))
    remedy = "Give them such names before training: by these, predict finds the channels of new scans."
    return [Finding("warning", "", expected, f"others, such as {', '.join(dict.fromkeys(shown))}", remedy)]


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _ignored(dataset: Dataset) -> list[Finding]:
    if not dataset.ignored:
        return []
    expected = f"scans ({registry.READ})"
    found = f"other files, left out: {enumerate_names(path.name for path in dataset.ignored)}"
    return [Finding("warning", "", expected, found, "Convert them if they belong to the data.")]


def _label_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    findings = []
    if not dataset.cases:
        remedy = "Check that images and masks have the same names."
        findings.append(Finding("error", "", "an image with a mask, at least one", "none", remedy))
    elif len(dataset.labels) > MAX_LABELS:
        remedy = (
            "Give data.mask.threshold if they are grey pictures of one structure; else check that these are the masks."
        )
        findings.append(Finding("error", "", f"at most {MAX_LABELS} labels", str(len(dataset.labels)), remedy))
    elif not dataset.declared:
        findings.append(_unnamed_labels(dataset, facts))
    return findings + _unused_labels(dataset, facts)


def _unnamed_labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> Finding:
    if not dataset.labels and any(each.labels is not None for each in facts):
        remedy = "Check that these are the masks, and name the labels in data.labels."
        return Finding("error", "", "a label, at least one", "masks of zeros alone", remedy)
    if WHITE in dataset.labels.values():
        found = f"{count_of(len(dataset.labels), 'value')}, with {WHITE} among them"
        remedy = "Give data.mask.threshold, such as 127, in a configuration; data.labels if they are labels after all."
        return Finding(
            "warning", "", "masks whose values number the structures, not grey pictures of one", found, remedy
        )
    names = enumerate_names(dataset.labels) or "label_<value>"
    found = f"none, so that they are called {names} after the values in the masks"
    return Finding("warning", "", "names of the labels", found, "Name them in data.labels of the configuration.")


def _unused_labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Labels that no mask holds, as far as masks were read."""
    read = sum(each.labels is not None for each in facts)
    held = _held(facts)
    return [
        Finding(
            "warning",
            "",
            f"the label {name} (value {value}) in some mask",
            f"it in none of the {read} that were read",
            "Correct its value, or take it off the labels: nothing can be learnt of it, and no score given.",
        )
        for name, value in dataset.labels.items()
        if read and value not in held
    ]


def _held(facts: Sequence[CaseFacts]) -> frozenset[int]:
    """The values above 0 of all masks that were read, inside the fields of view."""
    return frozenset[int]().union(*(each.labels for each in facts if each.labels is not None))


def _duplicates(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Images with the same content; among different patients they can end up on both sides of a split."""
    patients = {case.name: case.patient for case in (*dataset.unlabelled, *dataset.cases)}
    by_hash: dict[str, list[str]] = defaultdict(list)
    for each in facts:
        if each.content_hash is not None:
            by_hash[each.content_hash].append(each.case)
    return [_duplicate(names, patients) for names in by_hash.values() if len(names) > 1]


def _duplicate(names: list[str], patients: Mapping[str, str]) -> Finding:
    severity: Severity = "warning" if len({patients[name] for name in names}) == 1 else "error"
    found = f"the same values in {', '.join(names)}"
    return Finding(severity, names[0], "images that differ", found, "Keep one of them.")


def _odd_spacings(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans whose voxels have another size than is usual in the data set: often a wrong unit or a lost spacing."""
    known = {each.case: np.array(each.spacing_mm) for each in facts if each.spacing_mm is not None}
    if not known:
        return []
    usual = np.median(list(known.values()), axis=0)
    expected = f"a spacing near the usual one of {times(usual)} mm"
    remedy = "Compare its header with the original scan."
    return [
        Finding("warning", case, expected, f"{times(spacing)} mm", remedy)
        for case, spacing in known.items()
        if np.maximum(spacing / usual, usual / spacing).max() > ODD_SPACING
    ]


def _mixed_units(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans and pictures side by side: what is a pixel in the one would pass for a millimetre in the other."""
    pictures = [each.case for each in facts if each.unit == "px"]
    if not pictures or not any(each.unit == "mm" for each in facts):
        return []
    expected = "scans that all have a spacing, or pictures alone (PNG, TIFF, JPEG ...)"
    remedy = "Keep one kind in the data set."
    return [Finding("error", case, expected, "a picture among scans", remedy) for case in pictures]


def _flat_cases(dataset: Dataset, facts: Sequence[CaseFacts], dimensions: int | None) -> list[Finding]:
    """Pictures, and volumes of one slice, for a network of volumes: most of each patch would be padding."""
    if dimensions != sizes.VOLUME:
        return []
    masked = {case.name for case in dataset.cases}
    shapes = {each.case: each.shape for each in facts if each.case in masked and each.shape is not None}
    flat = [case for case, shape in shapes.items() if 1 in shape]
    expected = "scans of several slices, for a network of volumes (network.dimensions=3)"
    remedy = "Leave them out, or train a network of images (network.dimensions=2)."
    if len(flat) == len(shapes):
        remedy = "Begin with a configuration of images (network.dimensions=2), such as configs/cells.yaml."
    return [Finding("error", case, expected, "one slice", remedy) for case in flat]


def _assumed_modalities(dataset: Dataset) -> list[Finding]:
    if dataset.modalities_declared:
        return []
    found = f"none, so that each channel is taken as {dataset.modalities[0]}" if dataset.modalities else "none"
    remedy = "Set data.modalities in the configuration: [MR], or [CT], whose intensities are normalised in another way."
    return [Finding("warning", "", "names of the modalities", found, remedy)]


def _shared_names(dataset: Dataset) -> list[Finding]:
    """Cases that each count as a patient, though their names say that several are of one.

    Names are taken to say so where they share all but their last part (``p1_frame01``, ``p1_frame12``), and there are
    several such groups; ``scan_1``, ``scan_2`` ... are one group, which says nothing.
    """
    names = [case.name for case in dataset.cases if case.patient == case.name]
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[re.sub(r"[_-][A-Za-z]*[0-9]*$", "", name)].append(name)
    shared = [group for group in groups.values() if len(group) > 1]
    if len(names) < len(dataset.cases) or len(shared) < 2 or len(groups) < SHARED_NAMES * len(names):
        return []
    found = f"each case as a patient of its own, though {enumerate_names(shared[0], 2)} look like one"
    remedy = (
        "Set data.patient_pattern (such as '^(.*)_') or data.patient_table: what is learnt from a patient must not be "
        "tested on the same one. Leave it where they are not of one patient."
    )
    return [Finding("warning", "", "the patient of each case", found, remedy)]
