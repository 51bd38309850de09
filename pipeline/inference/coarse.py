"""Small autoencoders that see a scan as a whole on a coarse grid: how odd it looks, and where.

Each kind is trained twice, on one half of the cases each (`training.coarse`), so that either half has errors by a
network that did not learn from it. The first of them sees a new scan: two networks that learnt from halves drawn at
random are taken for equals, so that its errors are like those of both. Tensors are N C I J K, or N C I J of slices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.config.autoencoder import AutoencoderConfig, CorruptionConfig, VariationalConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import ModelError
from pipeline.networks.autoencoder import Autoencoder
from pipeline.networks.small_inputs import use_for_small_inputs
from pipeline.quality.fitted import below
from pipeline.quality.scans import RECONSTRUCTIONS
from pipeline.threads import one_thread

FIRST = "0"
"""What the network of the first half is called among the weights; older models have the other one as "1"."""
GRIDS: dict[int, tuple[int, ...]] = {3: (32, 32, 32), 2: (64, 64)}
"""By the dimensions of the network that segments. A scan fills the grid, whatever its proportions."""
SLICES = 8
"""Of a volume that a network of images sees slice by slice, as many at most, evenly spread."""
FEATURES = (8, 16, 32)
CODE_SIZE, CODE_CHANNELS = 48, 16
CONFIGS: dict[str, AutoencoderConfig] = {
    "denoising": AutoencoderConfig(
        kind="denoising", corruption=CorruptionConfig(noise=(0.0, 0.3), coarse_noise=(0.0, 1.0), coarse_noise_voxels=4)
    ),
    "variational": AutoencoderConfig(
        kind="variational",
        code_size=CODE_SIZE,
        code_channels=CODE_CHANNELS,
        variational=VariationalConfig(beta=0.2, warmup_steps=100),
    ),
}
"""By the name of the score. Coarse noise looks like what does not belong (Kascenas et al. 2022)."""


def coarse_views(image: NDArray[np.float32], dimensions: int) -> Tensor:
    """A prepared scan (C, I, J, K) on the coarse grid: one view (1, C, 32, 32, 32), or one a slice (N, C, 64, 64)."""
    tensor = torch.from_numpy(image)
    if dimensions == 3:
        return functional.interpolate(tensor[None], GRIDS[3], mode="area")
    return functional.interpolate(
        tensor[..., evenly_spread(image.shape[-1])].permute(3, 0, 1, 2), GRIDS[2], mode="area"
    )


def evenly_spread(slices: int) -> NDArray[np.int64]:
    """Places of up to `SLICES` of so many slices, the first and the last among them."""
    return np.unique(np.linspace(0, slices - 1, min(slices, SLICES)).round().astype(np.int64))


def new_autoencoder(kind: str, *, channels: int, dimensions: int) -> Autoencoder:
    """An untrained network of one of the `CONFIGS`.

    The denoising one has a skip connection, but none at the finest stage, where it could copy whatever it is given.
    """
    network = NetworkConfig.model_validate(
        {
            "dimensions": dimensions,
            "features": FEATURES,
            "kernels": [(3,) * dimensions] * len(FEATURES),
            "strides": [(2,) * dimensions] * len(FEATURES),
            "encoder_convolutions": (1, 1, 1),
            "decoder_convolutions": (1, 1),
            "upsampling": "interpolated",
            "skips": (False, kind == "denoising"),
            "deep_supervision": 0,
        }
    )
    return Autoencoder(network, CONFIGS[kind], channels=channels, patch_size=GRIDS[dimensions])


@dataclass(frozen=True, eq=False)
class CoarseAutoencoders:
    """Trained networks, in evaluation mode.

    Attributes:
        networks: by kind, that of the first half of the cases.
        dimensions: of what they see.
    """

    networks: Mapping[str, Autoencoder]
    dimensions: int

    def errors(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean squared error of a prepared scan (C, I, J, K) by each kind, (E,)."""
        views = coarse_views(image, self.dimensions)
        return np.array([reconstruction_error(network, views) for network in self.networks.values()])

    def reconstructed(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A prepared scan on the coarse grid, and what the variational network makes of it, which can copy least.

        Both are (C, 32, 32, 32), or (C, 64, 64, N) of slices.
        """
        views = coarse_views(image, self.dimensions)
        with torch.inference_mode():
            made = self.networks[RECONSTRUCTIONS[1]](views).output
        return _as_volume(views, self.dimensions), _as_volume(made, self.dimensions)

    def to_arrays(self) -> dict[str, NDArray]:
        """The weights by name."""
        return {
            f"{kind}.{FIRST}.{name}": tensor.contiguous().numpy()
            for kind, network in self.networks.items()
            for name, tensor in network.state_dict().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], *, channels: int, dimensions: int) -> Self:
        """What `to_arrays` gave.

        Raises:
            ModelError: weights are missing, or of another shape.
        """
        kinds = [kind for kind in RECONSTRUCTIONS if below(kind, arrays)]
        networks = {
            kind: trained_autoencoder(
                kind, below(f"{kind}.{FIRST}", arrays), channels=channels, dimensions=dimensions, what="the scan gate"
            )
            for kind in kinds
        }
        return cls(networks, dimensions)


def trained_autoencoder(
    kind: str, weights: Mapping[str, NDArray], *, channels: int, dimensions: int, what: str
) -> Autoencoder:
    """As `new_autoencoder`, with its trained weights by name, made ready to see one scan at a time.

    Raises:
        ModelError: weights are missing, or of another shape; they are of ``what``.
    """
    network = new_autoencoder(kind, channels=channels, dimensions=dimensions)
    try:
        network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    except RuntimeError as error:
        found = str(error).splitlines()[0]
        raise ModelError(f"weights of the {kind} autoencoder of {what}", found, "Copy the model again.") from error
    use_for_small_inputs(network)
    return network.eval()


def reconstruction_error(network: Autoencoder, views: Tensor) -> float:
    """Mean squared error of all views of a scan."""
    with torch.inference_mode(), one_thread():
        return float(functional.mse_loss(network(views).output, views))


def _as_volume(views: Tensor, dimensions: int) -> NDArray[np.float32]:
    """Views as one array (C, I, J, K), slices last."""
    return views[0].numpy() if dimensions == 3 else views.permute(1, 2, 3, 0).numpy()
