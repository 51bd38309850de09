"""Images that a denoising network made better: less noise, or a higher resolution."""

import torch
from torch import Tensor

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ModelError
from pipeline.inference.footprint import check_restoring_fits
from pipeline.inference.memory import available_bytes
from pipeline.inference.precision import compute_for
from pipeline.inference.sliding_window import sliding_window
from pipeline.losses.reconstruction import as_image
from pipeline.model import AutoencoderModel
from pipeline.networks.autoencoder import Reconstruction
from pipeline.preprocessing.images import on_own_grid, on_prepared_grid
from pipeline.preprocessing.prepare import Prepared
from pipeline.scan import Scan
from pipeline.sizes import as_window


class Restorer:
    """A denoising network made ready to run.

    Args:
        model: network, weights and everything that belongs to them.
        config: overlap, device, precision, threads.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
        ModelError: the autoencoder is of a kind that restores nothing.
    """

    def __init__(self, model: AutoencoderModel, config: InferenceConfig) -> None:
        self.manifest, self.config = model.manifest, config
        autoencoder = model.manifest.autoencoder
        if autoencoder.kind != "denoising" or autoencoder.corruption.only_masked:
            kind = "masked" if autoencoder.corruption.only_masked else autoencoder.kind
            raise ModelError(
                "a model that segments, or an autoencoder that restores scans",
                f"one of kind {kind}",
                "Train one with configs/autoencoders/denoising.yaml or super_resolution.yaml.",
            )
        self.compute = compute_for(config, model.manifest.provenance.precision)
        self.network = self.compute.place_network(model.network, model.manifest.network.dimensions)

    def restore(self, scan: Scan, prepared: Prepared) -> Scan:
        """The restored scan in 32 bits: on its own grid, or where resolution was learnt, on that of the network.

        Raises:
            ScanError: it needs more memory than is free.
            ModelError: the network's output is not finite.
        """
        check_restoring_fits(prepared.trail, self.manifest, self.config, free_bytes=available_bytes())
        window = as_window(self.manifest.patch_size)
        with torch.inference_mode():
            image = sliding_window(
                self._run, torch.from_numpy(prepared.image), window, overlap=self.config.overlap, finish=_unchanged
            )
        if not torch.isfinite(image.sum()):
            found, remedy = "values that are not finite", "Use --device cpu or inference.precision=fp32."
            raise ModelError("intensities from the network", found, remedy)
        place = on_prepared_grid if self.manifest.autoencoder.corruption.lowers_resolution else on_own_grid
        return place(image.numpy(), prepared, scan, fitted=self.manifest.preprocessing)

    def _run(self, window: Tensor) -> Tensor:
        """The image (1, C, I, J, K) that a window of that shape becomes; a network of images sees one slice."""
        is_slice = self.manifest.network.dimensions == 2
        with self.compute.autocast():
            found: Reconstruction = self.network(self.compute.place(window[..., 0] if is_slice else window))
        image = as_image(found.output.float(), config=self.manifest.autoencoder.loss, bounds=self.manifest.bounds)
        return image[..., None] if is_slice else image


def _unchanged(image: Tensor) -> Tensor:
    return image
