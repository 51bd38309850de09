"""A training sample, and what every augmentation has in common."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Sample = dict[str, Tensor]
MAX_SEED = 2**31
"""Of the seeds that an augmentation hands on to the generators of its libraries."""


class Augmentation(Protocol):
    """Draws and applies the changes of one sample; the same generator gives the same sample in any process."""

    def __call__(
        self,
        image: NDArray[np.float32],
        labels: NDArray[np.integer],
        rng: np.random.Generator,
        *,
        weights: NDArray[np.float32] | None = None,
    ) -> Sample:
        """Augment a patch.

        Args:
            image: (C, ...), of `source_size`; normalised, so that 0 is nothing out of the ordinary.
            labels: class numbers (L, ...), of the same size; none of them is mixed with another.
            rng: the sample's own generator.
            weights: what each pixel counts for (1, ...), of the same size; moved as the image is, its values kept.

        Returns:
            "image" (C, ...) float32, "labels" (L, ...) as `label_tensor` makes them and, where there are some,
            "weights" (1, ...) float32, of the patch's size. What comes in from outside the source is 0 in all of them.
        """
        ...


def label_tensor(labels: NDArray[np.integer]) -> Tensor:
    """Class numbers in a type that torch can compute with: uint8 as it is, any other as int32."""
    return torch.from_numpy(labels if labels.dtype == np.uint8 else labels.astype(np.int32))
