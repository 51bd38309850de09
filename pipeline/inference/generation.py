"""Scans that never were: draws from a variational code, and the way from one scan to another through it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ModelError
from pipeline.inference.embedding import Embedder
from pipeline.inference.sliding_window import pad_to
from pipeline.losses.reconstruction import as_image
from pipeline.model import AutoencoderModel
from pipeline.preprocessing.prepare import Prepared
from pipeline.sizes import as_window

Images = list[NDArray[np.float32]]
"""Of one patch each (C, I, J, K), or (C, I, J), with normalised intensities."""


class Generator:
    """A variational autoencoder that draws.

    Args:
        embedder: an autoencoder made ready to run.

    Raises:
        ModelError: it is of another kind, whose codes have no distribution.
    """

    def __init__(self, embedder: Embedder) -> None:
        kind = embedder.manifest.autoencoder.kind
        if kind != "variational":
            expected = "a variational autoencoder, from whose code scans can be drawn"
            raise ModelError(expected, f"one of kind {kind}", "Train one with configs/autoencoders/variational.yaml.")
        self.embedder = embedder

    def draw(self, count: int, seed: int) -> Images:
        """Images of codes drawn from the standard normal distribution; the same seed gives the same."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.embedder.code_shape()
        return [self._decode(torch.randn(1, *shape, generator=generator)) for _ in range(count)]

    def between(self, first: Prepared, last: Prepared, steps: int) -> Images:
        """Images from one scan to another, at even steps of the line between their codes; the two ends included.

        Args:
            first: a scan, of which the patch in the middle is taken.
            last: another.
            steps: how many images, two or more.
        """
        start, end = (self.embedder.encode(middle_patch(each, self.embedder)) for each in (first, last))
        return [self._decode(torch.lerp(start, end, step / (steps - 1))) for step in range(steps)]

    def _decode(self, units: Tensor) -> NDArray[np.float32]:
        manifest = self.embedder.manifest
        output = self.embedder.decode(units)
        return as_image(output, config=manifest.autoencoder.loss, bounds=manifest.bounds)[0].numpy()


def middle_patch(prepared: Prepared, embedder: Embedder) -> Tensor:
    """The patch in the middle of a scan (1, C, ...), padded with zeros where the scan is smaller."""
    size = embedder.manifest.patch_size
    window = as_window(size)
    image, _ = pad_to(torch.from_numpy(prepared.image), window)
    for axis, n in enumerate(window, start=1):
        image = image.narrow(axis, (image.shape[axis] - n) // 2, n)
    return image[None] if len(size) == len(window) else image[None, ..., 0]


def load_generator(model: AutoencoderModel, config: InferenceConfig | None = None) -> Generator:
    """A generator of a model.

    Args:
        model: an autoencoder.
        config: device, precision and threads; by default the model's own settings.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
        ModelError: as `Generator`.
    """
    return Generator(Embedder(model, config or model.manifest.inference))
