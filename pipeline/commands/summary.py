"""``medseg summary``: the layers and costs of the network that a configuration describes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config.data import DataConfig
from pipeline.config.load import Config
from pipeline.config.pretraining import PretrainingConfig
from pipeline.errors import ConfigError, UserError
from pipeline.layouts.dataset import Dataset
from pipeline.layouts.discover import discover, discover_scans
from pipeline.networks.summary import Summary, summarise_autoencoder, summarise_unet
from pipeline.wording import count_of


@dataclass(frozen=True)
class DescribedNetwork:
    """A network's summary, and what it was made for in words: channels and classes, or channels and the code."""

    summary: Summary
    assumptions: str


def summarise(config: Config | PretrainingConfig, *, channels: int | None, classes: int | None) -> DescribedNetwork:
    """Describe a U-Net or, of a configuration of `medseg pretrain`, an autoencoder, which has no classes.

    Args:
        config: network, patch and batch; and the data set, which says what is not given.
        channels: of the scans; by default as the configuration says or else the data set; 1 where neither does.
        classes: the background included; by default in the same way; 2 where neither names labels.

    Raises:
        ConfigError: the patch does not fit a layer, which the message names; classes of an autoencoder.
    """
    if isinstance(config, Config):
        return _unet(config, channels=channels, classes=classes)
    if classes is not None:
        expected = "no --classes for an autoencoder, which gives back images"
        raise ConfigError(expected, f"--classes {classes}", "Leave it out.")
    return _autoencoder(config, channels=channels)


def _unet(config: Config, *, channels: int | None, classes: int | None) -> DescribedNetwork:
    labels, modalities = config.data.labels, config.data.modalities
    if (channels is None and modalities is None) or (classes is None and labels is None):
        dataset = _found(discover, config.data)
        modalities = modalities or (dataset.modalities if dataset is not None else None)
        labels = labels or (dataset.labels if dataset is not None else None)
    assumed = (channels is None and not modalities) or (classes is None and not labels)
    channels = channels or (len(modalities) if modalities else 1)
    classes = classes or 1 + (len(labels) if labels else 1)
    summary = summarise_unet(
        config.network,
        channels=channels,
        classes=classes,
        patch_size=config.training.patch_size,
        batch_size=config.training.batch_size,
    )
    note = f"; {config.data.root} does not tell, so set others by --channels and --classes" if assumed else ""
    return DescribedNetwork(summary, f"{count_of(channels, 'channel')} and {classes} classes{note}")


def _autoencoder(config: PretrainingConfig, *, channels: int | None) -> DescribedNetwork:
    modalities = config.data.modalities
    if channels is None and modalities is None:
        dataset = _found(discover_scans, config.data)
        modalities = dataset.modalities if dataset is not None else None
    note = "" if channels or modalities else f"; {config.data.root} does not tell, so set others by --channels"
    channels = channels or (len(modalities) if modalities else 1)
    summary = summarise_autoencoder(
        config.network,
        config.autoencoder,
        channels=channels,
        patch_size=config.training.patch_size,
        batch_size=config.training.batch_size,
    )
    shape, numbers = " x ".join(map(str, config.code_shape)), math.prod(config.code_shape)
    code = f"a code of {shape} numbers" + (f" ({numbers:,})" if len(config.code_shape) > 1 else "")
    return DescribedNetwork(summary, f"{count_of(channels, 'channel')} and {code}{note}")


def _found(discovered: Callable[[DataConfig], Dataset], config: DataConfig) -> Dataset | None:
    try:
        return discovered(config)
    except UserError:  # the network can be described without its data
        return None
