"""What is refused in the settings of an autoencoder: each would be believed to have an effect that it has not."""

from pathlib import Path

import pytest

from pipeline.config.load import load_pretraining
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "autoencoders"


def refused(name: str, *overrides: str) -> str:
    with pytest.raises(ConfigError, match="valid settings in") as caught:
        load_pretraining(CONFIGS / f"{name}.yaml", list(overrides))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("undercomplete", "network.skips=[false,true,false]", "network.skips must all be false for kind undercomplete"),
        ("undercomplete", "autoencoder.code_channels=512", "must be smaller than its patch, found 89600 and 89600"),
        ("undercomplete", "autoencoder.residual=true", "residual is for kind denoising alone"),
        ("undercomplete", "autoencoder.variational.beta=1", "variational.beta is for kind variational alone"),
        ("undercomplete", "autoencoder.sparsity.dropout=0.1", "is for kind sparse alone"),
        ("undercomplete", "autoencoder.corruption.noise=[0,1]", "corruption is for kind denoising alone"),
        ("sparse", "autoencoder.code_channels=511", "must not be smaller than its patch, found 89425 and 89600"),
        ("sparse", "autoencoder.sparsity.weight=0", "kind sparse needs sparsity.dropout or sparsity.weight above 0"),
        ("variational", "autoencoder.variational.beta=0", "kind variational needs variational.beta above 0"),
        ("denoising", "autoencoder.corruption.noise=[0,0]", "kind denoising needs corruption above 0"),
        ("denoising", "autoencoder.loss={bce: 1}", "residual and loss.bce exclude each other"),
        ("masked", "autoencoder.loss={ssim: 1}", "only_masked and loss.ssim exclude each other"),
        ("masked", "autoencoder.corruption.masked_share=0", "only_masked needs a masked_share between 0 and 1"),
        ("super_resolution", "autoencoder.corruption.downsampling_axes=[]", "go together"),
        ("super_resolution", "autoencoder.corruption.downsampling_axes=[3]", "must be from 0 to 2, found [3]"),
        ("super_resolution", "autoencoder.corruption.downsampling=[0.5,2]", "downsampling is 1 or more"),
        ("masked", "autoencoder.loss={mse: 0}", "are all 0; give one of them a weight"),
        ("denoising", "augmentation.blur=0.2", "augmentation.blur would spoil the scans"),
        ("undercomplete", "tracking.register_as=model", "tracking.register_as is for models that segment"),
        ("masked", "autoencoder.corruption.masked_share=0.001", "masks none of 175 blocks"),
        ("masked", "network.deep_supervision=1", "network.deep_supervision is for masks"),
        ("masked", "training.patch_size=[40,56]", "training.patch_size needs 3 entries"),
        ("masked", "training.loss={dice: 1}", "training.loss: is no setting"),
    ],
)
def test_a_setting_that_contradicts_the_kind_is_refused(name: str, override: str, message: str) -> None:
    assert message in refused(name, override)


def test_a_feature_map_and_a_vector_have_their_shapes() -> None:
    assert load_pretraining(CONFIGS / "undercomplete.yaml", []).code_shape == (8, 5, 7, 5)
    assert load_pretraining(CONFIGS / "undercomplete.yaml", ["autoencoder.code_channels=null"]).code_shape == (
        128,
        5,
        7,
        5,
    )
    assert load_pretraining(CONFIGS / "variational.yaml", []).code_shape == (64,)
