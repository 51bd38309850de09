import itertools
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

from pipeline.config.network import NetworkConfig
from pipeline.config.training import OptimiserConfig
from pipeline.errors import ModelError
from pipeline.inference.precision import Compute
from pipeline.training.state import (
    Counters,
    TrainingState,
    average_weights,
    has_checkpoint,
    load_checkpoint,
    new_network,
    new_state,
    previous,
    save_checkpoint,
    update_average,
)

CPU = Compute(torch.device("cpu"), "fp32")
TINY = NetworkConfig(features=(2, 4), deep_supervision=0, norm="batch")


def make(seed: int = 0, network: NetworkConfig = TINY, **optimiser: object) -> TrainingState:
    unet = new_network(network, channels=1, classes=2, seed=seed)
    return new_state(unet, OptimiserConfig.model_validate(optimiser), CPU, dimensions=3)


def trained(**optimiser: Any) -> TrainingState:
    """A state after a step, nothing of which is as it began."""
    state = make(**optimiser)
    state.network(torch.randn(1, 1, 8, 8, 8))[0].square().mean().backward()
    state.optimiser.step()
    state.counters = Counters(3, 7, 12.5, 2.5, validated_epoch=2, last_score=0.5, best_score=0.75, stale_validations=2)
    update_average(state, 0.9)
    return state


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    one = make(seed=1).network.state_dict()
    assert torch.equal(torch.rand(2), expected)  # and making them leaves other random numbers alone
    again, other = make(seed=1).network.state_dict(), make(seed=2).network.state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_average_starts_as_a_copy_in_evaluation_mode() -> None:
    state = make()
    assert not state.average.training
    for own, new in zip(state.average.parameters(), state.network.parameters(), strict=True):
        assert torch.equal(own, new)
        assert own.data_ptr() != new.data_ptr()


@pytest.mark.parametrize(("kind", "expected"), [("sgd", optim.SGD), ("adamw", optim.AdamW)])
def test_the_optimiser_is_the_configured_one(kind: str, expected: type[optim.Optimizer]) -> None:
    optimiser = make(kind=kind, learning_rate=0.125, weight_decay=0.25, momentum=0.5).optimiser
    assert type(optimiser) is expected
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.125, 0.25)
    assert kind == "adamw" or (group["momentum"], group["nesterov"]) == (0.5, True)


def test_sgd_without_momentum_is_possible() -> None:
    assert make(kind="sgd", momentum=0.0).optimiser.param_groups[0]["nesterov"] is False


@pytest.mark.parametrize(
    ("step", "decay", "kept"),
    [(1, 0.99, 2 / 11), (8, 0.99, 0.5), (8, 0.25, 0.25), (100_000, 0.99, 0.99), (5, 0.0, 0.0)],
)
def test_the_average_follows_faster_at_first(step: int, decay: float, kept: float) -> None:
    state = make()
    state.counters.step = step
    with torch.no_grad():
        for own, new in zip(state.average.parameters(), state.network.parameters(), strict=True):
            own.fill_(10.0)
            new.fill_(20.0)
    update_average(state, decay)
    for own in state.average.parameters():
        torch.testing.assert_close(own, torch.full_like(own, kept * 10 + (1 - kept) * 20))


def test_buffers_are_copied_and_not_averaged() -> None:
    state = trained()
    for own, new in zip(state.average.buffers(), state.network.buffers(), strict=True):
        assert torch.equal(own, new)
    assert any(isinstance(layer, nn.BatchNorm3d) for layer in state.average.modules())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_checkpoint_brings_everything_back(tmp_path: Path, kind: str) -> None:
    state, other = trained(kind=kind), make(seed=9, kind=kind)
    save_checkpoint(tmp_path / "last.ckpt", state)
    load_checkpoint(tmp_path / "last.ckpt", other)
    assert other.counters == state.counters != Counters()
    for part in ("network", "average"):
        saved, loaded = (getattr(each, part).state_dict() for each in (state, other))
        assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    moments = [each.optimiser.state_dict()["state"] for each in (state, other)]
    assert moments[0].keys() == moments[1].keys() != set()
    for index, name in itertools.product(moments[0], moments[0][0]):
        assert torch.equal(moments[0][index][name], moments[1][index][name])


def test_the_exported_weights_are_a_copy_of_the_average() -> None:
    state = trained()
    weights = average_weights(state)
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.average.state_dict().items())
    weights["heads.0.weight"].zero_()
    assert state.average.get_parameter("heads.0.weight").any()


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"\x00\x01 no checkpoint" * 50],
    ids=["cut off", "empty", "something else"],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, trained())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"a checkpoint of this run's network; found .*last\.ckpt: .*Start the run"):
        load_checkpoint(path, make())


def test_a_checkpoint_that_is_damaged_in_one_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, trained())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        weights = max(archive.infolist(), key=lambda item: item.file_size)
    content[weights.header_offset + 200 + weights.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"last\.ckpt: it is damaged"):
        load_checkpoint(path, make())


@pytest.mark.parametrize("ending", ["damaged", "never finished"])
def test_where_the_newest_checkpoint_cannot_be_read_the_one_before_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path, state, other = tmp_path / "last.ckpt", trained(), make(seed=9)
    state.counters.epoch = 1
    save_checkpoint(path, state)
    state.counters.epoch = 2
    save_checkpoint(path, state)
    load_checkpoint(path, other)
    assert other.counters.epoch == 2
    path.write_bytes(path.read_bytes()[:1000]) if ending == "damaged" else path.unlink()
    assert has_checkpoint(path)
    load_checkpoint(path, other)
    assert other.counters.epoch == 1
    assert "the run goes on from the one before it" in caplog.text
    monkeypatch.setattr(torch, "save", lambda _, target: Path(target).write_bytes(b"damaged"))
    save_checkpoint(path, other)
    load_checkpoint(path, make(seed=8))
    assert previous(path).exists()


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state = tmp_path / "last.ckpt", trained()
    for state.counters.epoch in (1, 2):
        save_checkpoint(path, state)

    def full(_: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    state.counters.epoch = 3
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, state)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
    other = make(seed=9)
    load_checkpoint(path, other)
    assert other.counters.epoch == 2


def test_a_checkpoint_brings_back_the_random_states_and_the_record_of_its_epoch(tmp_path: Path) -> None:
    state = trained()
    state.record = {"epoch": 3, "metrics": {"loss": 0.5, "dice": None}}
    save_checkpoint(tmp_path / "last.ckpt", state)
    expected = torch.rand(3)
    other = make(seed=9)
    load_checkpoint(tmp_path / "last.ckpt", other)
    assert torch.equal(torch.rand(3), expected)
    assert other.record == state.record


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.ckpt: .*No such file"):
        load_checkpoint(tmp_path / "none.ckpt", make())


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.ckpt", trained())
    other = make(network=TINY.model_copy(update={"features": (2, 6)}))
    with pytest.raises(ModelError, match=r"last\.ckpt: Error\(s\) in loading state_dict for UNet"):
        load_checkpoint(tmp_path / "last.ckpt", other)


@pytest.mark.parametrize("change", [{"format": 1}, {"format": None}])
def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    torch.save(trained().to_dict() | change, tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match=r"last\.ckpt: another version of medseg wrote it\. Start the run afresh"):
        load_checkpoint(tmp_path / "last.ckpt", make())


def test_a_validation_is_the_best_where_its_dice_is_above_all_before() -> None:
    counters = Counters()
    noted = []
    for counters.epoch, dice in ((2, 0.5), (4, 0.5), (6, 0.25), (8, 0.75), (10, None)):
        best = counters.note_validation(dice)
        noted.append((best, counters.best_score, counters.last_score, counters.stale_validations))
    assert noted == [
        (True, 0.5, 0.5, 0),
        (False, 0.5, 0.5, 1),
        (False, 0.5, 0.25, 2),
        (True, 0.75, 0.75, 0),
        (False, 0.75, None, 0),  # no structure in any case: neither a gain nor a loss
    ]
    assert counters.validated_epoch == 10


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    path, witness = tmp_path / "last.ckpt", tmp_path / "witness"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (witness,)

    torch.save({"network": Attack()}, path)
    with pytest.raises(ModelError, match=r"a checkpoint of this run's network"):
        load_checkpoint(path, make())
    assert not witness.exists()
    pickle.loads(pickle.dumps(Attack()))
    assert witness.exists()  # the attack is a real one
