"""Converted networks on disk: made once, made again where they are damaged, and never in the way of a prediction."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.inference.backends import converted
from pipeline.inference.backends.conversion import NETWORK, WEIGHTS, convert
from pipeline.inference.backends.converted import HASHES, MOST_KEPT, make_key, networks_folder, read_or_make
from pipeline.inference.backends.openvino_backend import load_openvino
from tests.inference.backends.conftest import MakeOrdered

Make = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(ordered: MakeOrdered) -> Make:
    """Converts a network in this process, which is faster, and counts how often."""
    order, network = ordered()
    model = convert(network, order)

    def write(folder: Path) -> None:
        load_openvino().serialize(model, folder / NETWORK, folder / WEIGHTS)
        made.append(folder)

    return write


made: list[Path] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


def names() -> list[str]:
    return sorted(path.name for path in networks_folder().iterdir())


def test_a_network_is_made_once_and_then_read(make: Make) -> None:
    first, second = read_or_make("a", make), read_or_make("a", make)
    assert len(made) == 1
    assert [len(model.get_ops()) for model in (first, second)] == [len(first.get_ops())] * 2
    assert names() == ["a"]
    assert sorted(path.name for path in (networks_folder() / "a").iterdir()) == [HASHES, WEIGHTS, NETWORK]


@pytest.mark.parametrize("name", [NETWORK, WEIGHTS, HASHES])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_damaged_one_is_made_again(make: Make, name: str, is_cut: bool) -> None:
    read_or_make("a", make)
    path = networks_folder() / "a" / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if is_cut else content[:-30] + b"\x00" + content[-29:])
    read_or_make("a", make)
    read_or_make("a", make)
    assert len(made) == 2
    assert path.read_bytes() == content


def test_one_whose_hashes_were_made_to_fit_but_that_is_no_network_is_made_again(make: Make) -> None:
    read_or_make("a", make)
    folder = networks_folder() / "a"
    (folder / NETWORK).write_text("<net/>")
    (folder / HASHES).write_text(json.dumps(converted._hashes(folder)))
    read_or_make("a", make)
    assert len(made) == 2


def test_where_nothing_can_be_kept_the_network_runs_all_the_same(make: Make, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert read_or_make("a", make).get_ops()
    assert not made[0].exists()


def test_what_fails_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        (folder / NETWORK).write_text("half")
        raise RuntimeError("it crashed")

    with pytest.raises(RuntimeError, match="it crashed"):
        read_or_make("a", fail)
    assert names() == []


def test_those_unused_for_longest_go_and_what_killed_processes_left(make: Make) -> None:
    for number in range(MOST_KEPT):
        read_or_make(f"{number}", make)
        os.utime(networks_folder() / f"{number}", (1000 + number, 1000 + number))
    old, new = networks_folder() / ".partial-old", networks_folder() / ".partial-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (1000, 1000))
    read_or_make("0", make)  # used now
    read_or_make("new", make)
    assert names() == sorted([".partial-new", "0", *(f"{number}" for number in range(2, MOST_KEPT)), "new"])
    assert converted.clear() > 0
    assert names() == []
    assert converted.sizes() == []


def test_the_key_depends_on_weights_and_order_and_not_on_threads(ordered: MakeOrdered) -> None:
    order, network = ordered()
    key = make_key(order, network)
    assert key == make_key(order.model_copy(update={"threads": 2}), ordered()[1])
    others = [
        make_key(order, ordered(seed=1)[1]),
        make_key(order.model_copy(update={"precision": "bf16"}), network),
        make_key(order.model_copy(update={"patch_size": (16, 16, 32)}), network),
    ]
    assert len({key, *others}) == 4
