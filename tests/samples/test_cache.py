import multiprocessing
import operator
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.cache import CacheConfig
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import prepare
from pipeline.samples.cache import CaseCache, PreparedCase, StoredCase, make_key
from pipeline.scan import Scan

FITTED = FittedPreprocessing(
    spacing_mm=(1.0, 1.0, 1.0), crop="nonzero", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)


@pytest.fixture
def case() -> PreparedCase:
    array = np.random.default_rng(0).integers(1, 100, (1, 4, 5, 6)).astype(np.int16)
    prepared = prepare(Scan(array, np.diag([-2.0, 1.0, 1.0, 1.0]), Path("scan.nii")), FITTED)
    labels = (prepared.image[0] > 0).astype(np.uint8)
    voxels = np.argwhere(labels).astype(np.int32)
    return PreparedCase("case_1", prepared.image, labels, (voxels, np.zeros((0, 3), np.int32)), prepared.trail)


@pytest.fixture
def cache(tmp_path: Path) -> CaseCache:
    return CaseCache(CacheConfig(folder=tmp_path))


def never() -> PreparedCase:
    raise AssertionError("the entry was there already")


def aged(cache: CaseCache, case: PreparedCase, keys: str) -> list[StoredCase]:
    """Entries, each used a second later than the one before."""
    stored = [cache.get(key, lambda: case) for key in keys]
    for second, entry in enumerate(stored):
        os.utime(entry.path, (second, second))
    return stored


def left(cache: CaseCache) -> list[str]:
    return sorted(path.stem for path in cache.folder.iterdir())


def test_what_was_put_in_comes_out(cache: CaseCache, case: PreparedCase) -> None:
    stored = cache.get("a", lambda: case)
    assert stored.name == "case_1"
    assert stored.trail == case.trail
    assert stored.shape == case.labels.shape == (8, 5, 6)
    np.testing.assert_array_equal(stored.image(), case.image)
    np.testing.assert_array_equal(stored.labels(), case.labels)
    assert [voxels.shape[0] for voxels in stored.foreground] == [case.labels.sum(), 0]
    np.testing.assert_array_equal(stored.foreground[0], case.foreground[0])


def test_a_part_can_be_read_without_the_whole(cache: CaseCache, case: PreparedCase) -> None:
    stored, box = cache.get("a", lambda: case), (slice(1, 3), slice(0, 5), slice(2, 6))
    np.testing.assert_array_equal(stored.image(box), case.image[(slice(None), *box)])
    np.testing.assert_array_equal(stored.labels(box), case.labels[box])


def test_an_entry_is_made_once(cache: CaseCache, case: PreparedCase) -> None:
    cache.get("a", lambda: case)
    assert cache.get("a", never).name == "case_1"


def test_an_open_entry_travels_to_another_process_by_its_path(cache: CaseCache, case: PreparedCase) -> None:
    stored = cache.get("a", partial(copy, case))
    stored.labels()
    travelled = pickle.loads(pickle.dumps(stored))
    np.testing.assert_array_equal(travelled.labels(), case.labels)


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: content[:100], lambda _: b"", lambda _: b"{" * 1000],
    ids=["a byte short", "cut in the header", "empty", "something else"],
)
def test_a_damaged_entry_is_made_again(cache: CaseCache, case: PreparedCase, damage: Callable[[bytes], bytes]) -> None:
    path = cache.get("a", lambda: case).path
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(cache.get("a", lambda: case).image(), case.image)
    np.testing.assert_array_equal(cache.get("a", never).labels(), case.labels)


def test_a_case_that_cannot_be_made_leaves_no_entry(cache: CaseCache) -> None:
    with pytest.raises(AssertionError, match="was there already"):
        cache.get("a", never)
    assert left(cache) == []


def test_equal_parts_have_an_equal_key_in_whatever_order() -> None:
    parts = {"image": "12ab", "labels": (1, 2), "fitted": FITTED.model_dump(mode="json")}
    key = make_key(parts)
    assert key == make_key(dict(reversed(parts.items())))
    assert len(key) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"image": "12ac"},
        {"labels": (2, 1)},
        {"fitted": FITTED.model_copy(update={"resampling_order": 3}).model_dump(mode="json")},
        {"fitted": FITTED.model_copy(update={"spacing_mm": (1.0, 1.0, 1.0000001)}).model_dump(mode="json")},
        {"more": 1},
    ],
)
def test_any_other_content_or_setting_has_another_key(change: dict[str, object]) -> None:
    parts: dict[str, object] = {"image": "12ab", "labels": (1, 2), "fitted": FITTED.model_dump(mode="json")}
    assert make_key(parts) != make_key(parts | change)


def test_another_format_of_the_entries_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_key({"image": "12ab"})
    monkeypatch.setattr("pipeline.samples.cache.ENTRY_FORMAT", 1000)
    assert make_key({"image": "12ab"}) != before


def test_a_part_whose_text_need_not_say_all_of_it_is_no_key() -> None:
    with pytest.raises(TypeError, match="ndarray is not JSON serializable"):
        make_key({"image": np.zeros(10_000)})


def test_trimming_removes_what_was_unused_for_longest(cache: CaseCache, case: PreparedCase) -> None:
    size = aged(cache, case, "abcd")[0].path.stat().st_size
    cache.max_bytes = 2 * size
    assert cache.trim([]) == 2 * size
    assert left(cache) == ["c", "d"]
    assert cache.trim([]) == 0


def test_using_an_entry_makes_it_new_again(cache: CaseCache, case: PreparedCase) -> None:
    size = aged(cache, case, "abc")[0].path.stat().st_size
    cache.get("a", never)
    cache.max_bytes = size
    cache.trim([])
    assert left(cache) == ["a"]


def test_entries_in_use_stay_though_they_are_old(cache: CaseCache, case: PreparedCase) -> None:
    stored = aged(cache, case, "abc")
    cache.max_bytes = 1
    cache.trim(stored[:1])
    assert left(cache) == ["a"]


def in_another_process(method: str, owner: CaseCache | StoredCase) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(operator.methodcaller(method), owner).result()


def test_an_entry_that_another_process_removes_is_read_on_by_whom_has_it_open(
    cache: CaseCache, case: PreparedCase
) -> None:
    stored = cache.get("a", partial(copy, case))
    assert in_another_process("clear", cache) > 0
    assert left(cache) == []
    np.testing.assert_array_equal(stored.image(), case.image)
    np.testing.assert_array_equal(stored.foreground[0], case.foreground[0])
    assert left(cache) == []


def test_an_entry_that_has_gone_is_prepared_again_by_the_process_that_opens_it(
    cache: CaseCache, case: PreparedCase
) -> None:
    stored = cache.get("a", partial(copy, case))
    cache.clear()
    np.testing.assert_array_equal(in_another_process("labels", stored), case.labels)
    np.testing.assert_array_equal(cache.get("a", never).image(), case.image)


def test_an_entry_that_is_being_written_is_not_taken_for_one_until_it_is_a_day_old(
    cache: CaseCache, case: PreparedCase
) -> None:
    cache.get("a", partial(copy, case))
    writing, abandoned = (cache.folder / f".partial-{name}-b.case" for name in ("new", "old"))
    for path in (writing, abandoned):
        path.write_bytes(bytes(100))
    yesterday = time.time() - 25 * 3600
    os.utime(abandoned, (yesterday, yesterday))
    assert len(cache.sizes()) == 1
    assert cache.trim([]) == 100
    assert left(cache) == [".partial-new-b", "a"]
    cache.clear()
    assert left(cache) == [".partial-new-b"]


def test_clearing_removes_every_entry_and_nothing_else(cache: CaseCache, case: PreparedCase) -> None:
    stored = aged(cache, case, "ab")
    (cache.folder / "notes.txt").write_text("mine")
    size = stored[0].path.stat().st_size
    assert cache.sizes() == [size, size]
    assert cache.clear() == 2 * size
    assert left(cache) == ["notes"]
    assert cache.sizes() == []


def test_a_cache_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    cache = CaseCache(CacheConfig(folder=tmp_path / "new"))
    assert (cache.sizes(), cache.clear(), cache.trim([])) == ([], 0, 0)


def test_the_folder_is_the_configured_one_or_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert CaseCache(CacheConfig(folder=tmp_path, max_gb=0.5)).max_bytes == 500_000_000
    monkeypatch.setenv("MEDSEG_CACHE", "/data/cases")
    assert CaseCache(CacheConfig()).folder == Path("/data/cases")
