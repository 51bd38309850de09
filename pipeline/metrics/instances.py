"""How well a mask is divided into instances (cells, nuclei): Rand F-score, variation of information, matched instances.

Instances are numbers from 1 in an array of whole numbers, with 0 for what is in none. `instances_of` makes them from a
mask: its connected parts. A stack of images that have nothing to do with each other is an (I, J, K) array as a volume
is; ``per_slice`` says which of the two it is. Once they are numbered, all of an array's instances are scored together.

A quotient whose denominator is 0 is undefined and None, as in `pipeline.metrics.overlap`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import metrics

from pipeline import geometry
from pipeline.config.inference import WatershedConfig
from pipeline.metrics.overlap import quotient
from pipeline.postprocessing.components import face_neighbours
from pipeline.postprocessing.instances import watershed_instances

SAME_IOU = 0.5
"""Two instances with more than this in common are one. No instance can have that with two others (Kirillov et al. 2019,
section 4.1), so that there is nothing to choose; at exactly a half there could be."""


def instances_of(mask: NDArray[np.bool_], *, per_slice: bool) -> NDArray[np.int32]:
    """The connected parts of a mask, numbered.

    Voxels are connected where they have a face in common: 4 neighbours in a plane, 6 in a volume. That is how the ISBI
    2012 challenge divides images of membranes into cells: the mask is the inside of the cells, and what lies between
    them is 0.

    Args:
        mask: boolean, (I, J) or (I, J, K).
        per_slice: whether K only stacks images, so that no instance reaches from one slice into the next. With a single
            slice both are the same.

    Returns:
        Numbers 1, 2, ... in the order of memory, 0 outside the mask; no number is in two slices where ``per_slice``.

    Example:
        >>> instances_of(np.array([[True, False, True]]), per_slice=False)
        array([[1, 0, 2]], dtype=int32)
    """
    numbers, _ = ndimage.label(mask, face_neighbours(mask.ndim, per_slice=per_slice), output=np.int32)
    return np.asarray(numbers)


def dividing(watershed: WatershedConfig | None, label: str, walls: Collection[str]) -> WatershedConfig | None:
    """The watershed for the instances of a label: none where it does not name the label, and none between walls."""
    return watershed if watershed is not None and label in watershed.labels and label not in walls else None


def predicted_instances(
    mask: NDArray[np.bool_], watershed: WatershedConfig | None, *, affine: geometry.Affine, per_slice: bool
) -> NDArray[np.int32]:
    """The instances of a label of a prediction: connected parts, divided by the watershed where it is asked for.

    Args:
        mask: boolean, (I, J, K).
        watershed: its settings; None where an instance is a connected part.
        affine: of the mask's grid.
        per_slice: whether each slice has instances of its own.

    Returns:
        Instance numbers (I, J, K), 0 for background.
    """
    if watershed is None:
        return instances_of(mask, per_slice=per_slice)
    return watershed_instances(mask, watershed, spacing=geometry.voxel_spacing_mm(affine), per_slice=per_slice)


@dataclass(frozen=True)
class RandPairs:
    """The adapted Rand score as counts of pairs: pairs of voxels that lie in one instance.

    Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers
    in Neuroanatomy 9:142 (2015), V^Rand with alpha = 0.5. The score is restricted to the foreground: only voxels in an
    instance of the reference are looked at, so that whatever is predicted on its background (the membranes) costs
    nothing. Of these, a voxel that is predicted as background is in no pair of the prediction, as in the program of the
    challenge. Its published scores were taken after borders were thinned to a pixel; nothing is thinned here.

    Pairs are of two different voxels; the paper's equation counts each voxel with itself as well, which makes a
    difference of one in so many as an instance has voxels.

    Attributes:
        common: pairs that lie in one instance of the prediction and in one of the reference.
        predicted: pairs that lie in one instance of the prediction.
        reference: pairs that lie in one instance of the reference.

    Example:
        >>> RandPairs.of(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]]))  # two cells of two pixels, merged
        RandPairs(common=2, predicted=6, reference=2)
    """

    common: int
    predicted: int
    reference: int

    @classmethod
    def of(cls, predicted: NDArray[np.integer], reference: NDArray[np.integer]) -> Self:
        """Count the pairs of two arrays of instance numbers, of one shape.

        `skimage.metrics.adapted_rand_error` counts the same pairs (``ignore_labels=(0,)``, its default, leaves out the
        background of the reference and not that of the prediction), but takes all voxels that are predicted as
        background for one instance, divides by 0 where there is no pair, and in version 0.26 swaps precision and
        recall. Hence only its table of counts is used here.
        """
        theirs, ours = _foreground(predicted, reference)
        if len(theirs) == 0:
            return cls(common=0, predicted=0, reference=0)
        table = metrics.contingency_table(theirs, ours)
        sizes = np.asarray(table.sum(axis=1)).ravel(), np.asarray(table.sum(axis=0)).ravel()
        return cls(common=_pairs(table.data), predicted=_pairs(sizes[1]), reference=_pairs(sizes[0]))

    @property
    def f(self) -> float | None:
        """2 common / (predicted + reference), V^Rand: from 0 to 1; None where neither has a pair.

        0 where nothing is predicted, as Dice is; None where the reference has no instance, whatever is predicted.
        """
        return quotient(2 * self.common, self.predicted + self.reference)

    @property
    def precision(self) -> float | None:
        """The share of the prediction's pairs that are right, low where it merges; None where it has no pair."""
        return quotient(self.common, self.predicted)

    @property
    def recall(self) -> float | None:
        """The share of the reference's pairs that were found, low where they are split; None where it has no pair."""
        return quotient(self.common, self.reference)


@dataclass(frozen=True)
class VariationOfInformation:
    """How much is not known of one division into instances where the other is known, in bits.

    Meila, "Comparing clusterings - an information based distance", Journal of Multivariate Analysis 98 (2007), with the
    names of Arganda-Carreras et al. (2015). Both are 0 for two equal divisions; an instance cut into two halves has a
    split of 1 bit, and two instances of one size that are merged have a merge of 1 bit.

    Attributes:
        split: H(prediction | reference).
        merge: H(reference | prediction).
    """

    split: float
    merge: float

    @classmethod
    def of(cls, predicted: NDArray[np.integer], reference: NDArray[np.integer]) -> Self | None:
        """From two arrays of instance numbers, of one shape; None where one of them has no instance.

        As in `RandPairs`, only voxels in an instance of the reference are looked at, and each of them that is predicted
        as background is an instance of its own. `skimage.metrics.variation_of_information` ignores nothing by default,
        so that background would be an instance as any other; what is to be ignored is left out here beforehand.
        """
        if not predicted.any() or not reference.any():
            return None
        theirs, ours = _foreground(predicted, reference)
        split, merge = metrics.variation_of_information(theirs, ours)
        return cls(split=max(float(split), 0.0), merge=max(float(merge), 0.0))  # a sum of logarithms may end below 0


@dataclass(frozen=True)
class InstanceMatches:
    """Which instances were found: one of the prediction and one of the reference whose IoU is above `SAME_IOU`.

    Kirillov et al., "Panoptic segmentation" (CVPR 2019), whose recognition quality is the F1 here.

    Attributes:
        matched: instances in both (true positives).
        missed: instances of the reference alone (false negatives).
        extra: instances of the prediction alone (false positives).

    Example:
        >>> InstanceMatches.of(np.array([[1, 1, 0, 2, 0]]), np.array([[1, 1, 1, 0, 0]]))  # IoU 2/3
        InstanceMatches(matched=1, missed=0, extra=1)
    """

    matched: int
    missed: int
    extra: int

    @classmethod
    def of(cls, predicted: NDArray[np.integer], reference: NDArray[np.integer]) -> Self:
        """Match two arrays of instance numbers, of one shape."""
        assert predicted.shape == reference.shape, (predicted.shape, reference.shape)
        table = metrics.contingency_table(reference, predicted).tocoo()
        sizes = np.bincount(reference.ravel()), np.bincount(predicted.ravel())
        instances = (table.row > 0) & (table.col > 0)
        common = table.data[instances]
        united = sizes[0][table.row[instances]] + sizes[1][table.col[instances]] - common
        matched = int(np.count_nonzero(common / united > SAME_IOU))
        theirs, ours = (int(np.count_nonzero(counts[1:])) for counts in sizes)
        return cls(matched=matched, missed=theirs - matched, extra=ours - matched)

    @property
    def f1(self) -> float | None:
        """2 matched / (2 matched + missed + extra): 0 where one has no instance, None where neither has one."""
        return quotient(2 * self.matched, 2 * self.matched + self.missed + self.extra)


def _foreground(
    predicted: NDArray[np.integer], reference: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The instances of the reference's foreground, (N,), and those predicted there.

    What is predicted as background there is numbered as well, a number each: a voxel that is in no instance shares it
    with no other.
    """
    assert predicted.shape == reference.shape, (predicted.shape, reference.shape)
    inside = reference > 0
    theirs, ours = reference[inside].astype(np.int64), predicted[inside].astype(np.int64)
    left_out = ours == 0
    ours[left_out] = ours.max(initial=0) + 1 + np.arange(np.count_nonzero(left_out))
    return theirs, ours


def _pairs(sizes: NDArray[np.number]) -> int:
    """How many pairs of two different voxels groups of these sizes hold: n (n - 1) / 2 each."""
    counts = sizes.astype(np.int64)
    return int((counts * (counts - 1)).sum()) // 2
