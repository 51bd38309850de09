"""What an autoencoder's code says of a scan, and how well the scan comes back from it. Tensors are B C D H W."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.inference import InferenceConfig
from pipeline.config.pretraining import code_shape
from pipeline.inference.precision import compute_for
from pipeline.inference.sliding_window import pad_to
from pipeline.inference.windows import starts
from pipeline.losses.reconstruction import as_image
from pipeline.model import AutoencoderModel
from pipeline.networks.autoencoder import Reconstruction
from pipeline.preprocessing.prepare import Prepared
from pipeline.sizes import as_window


@dataclass(frozen=True, eq=False)
class Embedding:
    """A scan in few numbers.

    Attributes:
        code: the units (code_size,), or the channels of a feature map (code_channels,) as means over its places; of a
            scan that is larger than a patch, the mean over its windows.
        mse: mean squared error of the reconstruction, over the normalised intensities in the windows; None of a masked
            autoencoder, which has learnt to give back nothing but what is missing.
    """

    code: NDArray[np.float32]
    mse: float | None


class Embedder:
    """An autoencoder made ready to run.

    Args:
        model: network, weights and everything that belongs to them.
        config: overlap, device, precision, threads.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
    """

    def __init__(self, model: AutoencoderModel, config: InferenceConfig) -> None:
        self.manifest, self.config = model.manifest, config
        self.compute = compute_for(config, model.manifest.provenance.precision)
        self.network = model.network
        self.compute.place_network(self.network, model.manifest.network.dimensions)

    def embed(self, prepared: Prepared) -> Embedding:
        """The code of a scan that `prepare` has been run on."""
        codes, error, voxels = list[Tensor](), 0.0, 0
        for window, inside in self._windows(torch.from_numpy(prepared.image)):
            found = self._run(window)
            image = as_image(found.output.float(), config=self.manifest.autoencoder.loss, bounds=self.manifest.bounds)
            difference = (image.cpu() - window)[:, :, *inside]
            error, voxels = error + float((difference**2).sum()), voxels + difference.numel()
            codes.append(found.code.vectors()[0].cpu())
        masked = self.manifest.autoencoder.corruption.only_masked
        return Embedding(torch.stack(codes).mean(0).numpy(), None if masked else error / voxels)

    def code_shape(self) -> tuple[int, ...]:
        """Of the code of one patch: (code_size,), or (code_channels, ...)."""
        manifest = self.manifest
        return code_shape(manifest.network, manifest.autoencoder, manifest.patch_size)

    def encode(self, window: Tensor) -> Tensor:
        """The units (1, ...) of a patch (1, C, ...), on the CPU."""
        with torch.inference_mode(), self.compute.autocast():
            units: Tensor = self.network.encode(self.compute.place(window)).units
        return units.float().cpu()

    def decode(self, units: Tensor) -> Tensor:
        """The output (1, C, ...) of units (1, ...), on the CPU."""
        with torch.inference_mode(), self.compute.autocast():
            output: Tensor = self.network.decode(units.to(self.compute.device))
        return output.float().cpu()

    def _windows(self, image: Tensor) -> Iterator[tuple[Tensor, tuple[slice, ...]]]:
        """Windows (1, C, ...) that cover an image (C, I, J, K), and the part of each that lies in it."""
        patch, dimensions = self.manifest.patch_size, self.manifest.network.dimensions
        window = as_window(patch)
        padded, inner = pad_to(image, window)
        sizes = zip(padded.shape[1:], window, strict=True)
        for corner in product(*(starts(n, p, self.config.overlap) for n, p in sizes)):
            box = tuple(slice(first, first + p) for first, p in zip(corner, window, strict=True))
            inside = tuple(_overlap(own, whole) for own, whole in zip(box, inner, strict=True))
            part = padded[:, *box][None]
            yield part if dimensions == len(window) else part[..., 0], inside[:dimensions]

    def _run(self, window: Tensor) -> Reconstruction:
        with torch.inference_mode(), self.compute.autocast():
            found: Reconstruction = self.network(self.compute.place(window))
        return found


def _overlap(window: slice, inner: slice) -> slice:
    """What a window has of the part of a padded axis that lies in the image, counted from the window's start."""
    return slice(max(inner.start - window.start, 0), min(inner.stop, window.stop) - window.start)
