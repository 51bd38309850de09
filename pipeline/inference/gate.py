"""The scan gate at work: what is measured of a scan on its way to a mask, and what that says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.inference.backends.backend import Backend
from pipeline.inference.coarse import CoarseAutoencoders
from pipeline.inference.features import EncoderFeatures
from pipeline.inference.segmentation import GateFinding
from pipeline.inference.sliding_window import slide
from pipeline.quality.fitted import below
from pipeline.quality.histogram import quantiles_of
from pipeline.quality.scans import Measurements, ScanGate
from pipeline.sizes import as_window

STATISTICS, AUTOENCODERS = "statistics", "autoencoders"
"""What the names of the two parts' arrays begin with."""


@dataclass(frozen=True, eq=False)
class EncodedScan:
    """A scan whose windows the encoder has seen.

    Attributes:
        image: the prepared scan (C, I, J, K).
        features: what the encoder made of its windows.
    """

    image: NDArray[np.float32]
    features: EncoderFeatures

    @cached_property
    def quantiles(self) -> NDArray[np.float64]:
        """Of its intensities (C, Q), which both the gate and predicted Dice look at."""
        return quantiles_of(self.image)

    def measurements(self, errors: NDArray[np.float64]) -> Measurements:
        """What is measured of it; errors (E,) are those of its reconstructions."""
        return Measurements(self.quantiles[None], self.features.values()[None], errors[None])


@dataclass(frozen=True, eq=False)
class FittedGate:
    """A gate with all that it needs.

    Attributes:
        statistics: the scores, and their calibration.
        autoencoders: or None, for a gate without reconstruction errors.
    """

    statistics: ScanGate
    autoencoders: CoarseAutoencoders | None

    def scores(self, encoded: EncodedScan) -> NDArray[np.float64]:
        """The raw scores (1, S) of a scan."""
        errors = np.zeros(0) if self.autoencoders is None else self.autoencoders.errors(encoded.image)
        return self.statistics.scores(encoded.measurements(errors))

    def judge(self, encoded: EncodedScan) -> GateFinding:
        """What the gate says of a scan."""
        raw = self.scores(encoded)
        odd = self.statistics.gate.tails.oddness(raw)[0]
        score = float(self.statistics.gate.gate_score(raw)[0])
        oddness = {name: float(value) for name, value in zip(self.statistics.names, odd, strict=True)}
        found = GateFinding(score, self.statistics.gate.threshold, oddness)
        if self.autoencoders is None or not found.is_foreign:
            return found
        scan, expected = self.autoencoders.reconstructed(encoded.image)
        return replace(found, scan=scan, expected=expected)

    def to_arrays(self) -> dict[str, NDArray]:
        """All of it by name."""
        networks = {} if self.autoencoders is None else self.autoencoders.to_arrays()
        return {f"{STATISTICS}.{name}": array for name, array in self.statistics.to_arrays().items()} | {
            f"{AUTOENCODERS}.{name}": array for name, array in networks.items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], *, channels: int, dimensions: int) -> Self:
        """What `to_arrays` gave.

        Raises:
            ModelError: an array is missing or has another shape.
        """
        weights = below(AUTOENCODERS, arrays)
        networks = CoarseAutoencoders.from_arrays(weights, channels=channels, dimensions=dimensions)
        return cls(ScanGate.from_arrays(below(STATISTICS, arrays)), networks if weights else None)


def encode_all(
    backend: Backend, image: NDArray[np.float32], patch_size: tuple[int, ...], *, overlap: float
) -> EncodedScan:
    """A prepared scan (C, I, J, K), seen by the encoder as prediction sees it.

    Args:
        backend: runs the network.
        image: the scan.
        patch_size: of the network's input.
        overlap: of the windows.
    """
    features, is_slice = EncoderFeatures(), len(patch_size) == 2

    def encode(batch: Tensor) -> Tensor:
        features.see(backend.features(batch.squeeze(-1) if is_slice else batch))
        return batch[:, :1].clone()  # `slide` writes over it

    with torch.inference_mode():
        for _ in slide(encode, torch.from_numpy(image), as_window(patch_size), overlap=overlap):
            pass
    return EncodedScan(image, features)
