import pytest
import torch

from pipeline.commands import machine
from pipeline.config.network import NetworkConfig
from pipeline.config.training import TrainingConfig
from pipeline.errors import ConfigError
from pipeline.inference import precision
from pipeline.inference.precision import Step
from pipeline.networks.unet import UNet
from pipeline.training import state

NETWORK = NetworkConfig(features=(2, 4), deep_supervision=0)


def training(**settings: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"patch_size": (8, 8, 8), "device": "cpu", "precision": "fp32"} | settings)


def never() -> Step:
    raise AssertionError("nothing is to be timed")


def test_what_is_left_open_is_filled_in_and_what_is_given_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "native_precisions", lambda _device: frozenset({"fp32"}))
    threads = torch.get_num_threads()
    settled = machine.settle(training(device="auto", precision="auto", seed=3), never)
    assert settled == training(device="cpu", precision="fp32", seed=3, threads=threads)
    assert machine.settle(settled, never) == settled


def test_a_precision_that_is_chosen_by_timing_costs_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[UNet] = []
    make = state.new_network

    def note(config: NetworkConfig, *, channels: int, classes: int, seed: int) -> UNet:
        made.append(make(config, channels=channels, classes=classes, seed=seed))
        return made[-1]

    monkeypatch.setattr(machine, "new_network", note)
    monkeypatch.setattr(precision, "native_precisions", lambda _device: frozenset({"fp32", "bf16"}))
    assert machine.settle(
        training(precision="auto"), lambda: machine.segmentation_step(training(), NETWORK)
    ).precision in ("fp32", "bf16")
    assert len(made) == 1


def test_a_run_that_was_begun_on_a_gpu_does_not_go_on_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine.check_device(training())
    with pytest.raises(
        ConfigError, match=r"none on this machine\. Resume it where there is one, or set training\.device"
    ):
        machine.check_device(training(device="cuda"))
