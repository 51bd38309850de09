"""Records on their way to MLflow, and what interruptions leave of them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking.outbox import FILE, SENT, Outbox
from pipeline.tracking.records import Metrics, Status, Tags


def loss(step: int) -> Metrics:
    return Metrics(values={"loss": 1.0 / step}, step=step, time_ms=1000 + step, once=f"{step} loss")


def opened(folder: Path) -> Outbox:
    outbox = Outbox()
    outbox.keep_in(folder)
    return outbox


def waiting(outbox: Outbox) -> list[int]:
    return [record.step for record in outbox.next(100) if isinstance(record, Metrics)]


def test_records_come_in_order_and_stay_until_they_are_sent(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    for step in (1, 2, 3):
        assert outbox.add(loss(step))
    assert (waiting(outbox), len(outbox)) == ([1, 2, 3], 3)
    outbox.sent(2)
    assert (waiting(outbox), waiting(opened(tmp_path))) == ([3], [3])


def test_what_is_recorded_once_is_not_added_again_even_by_a_later_process(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(loss(1))
    outbox.sent(1)
    later = opened(tmp_path)
    assert not later.add(loss(1))
    assert later.add(loss(2))
    assert later.last_steps == {"loss": 2}


def test_records_from_before_there_was_a_folder_come_after_those_that_it_holds(tmp_path: Path) -> None:
    opened(tmp_path).add(loss(1))
    outbox = Outbox()
    outbox.add(loss(2))
    outbox.keep_in(tmp_path)
    assert (waiting(outbox), waiting(opened(tmp_path))) == ([1, 2], [1, 2])


def test_a_record_that_is_put_aside_lets_others_by_and_waits_for_a_later_process_too(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    for step in (1, 2, 3):
        outbox.add(loss(step))
    outbox.put_aside()
    outbox.sent(1)
    later = opened(tmp_path)
    for each in (outbox, later):
        assert (waiting(each), [late.line for late in each.late()], len(each)) == ([3], [0], 2)
    later.late_sent(later.late()[0])
    assert (waiting(opened(tmp_path)), opened(tmp_path).late()) == ([3], [])


@pytest.mark.parametrize("torn", [b"{", b'{"once":null,"kind":"tags","values":{}}'])
def test_a_line_that_was_being_written_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    opened(tmp_path).add(loss(1))
    with (tmp_path / FILE).open("ab") as stream:
        stream.write(torn)
    outbox = opened(tmp_path)
    outbox.add(loss(2))
    assert waiting(opened(tmp_path)) == [1, 2]
    assert len((tmp_path / FILE).read_bytes().splitlines()) == 2


def test_a_damaged_line_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = opened(tmp_path)
    outbox.add(loss(1))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes() + b"\x00damage\n")
    assert waiting(opened(tmp_path)) == [1]
    assert "a line of outbox.jsonl is damaged" in caplog.text


@pytest.mark.parametrize("content", [None, "", "{}", "[1]"])
def test_without_a_note_of_what_was_sent_everything_is_sent_again(tmp_path: Path, content: str | None) -> None:
    outbox = opened(tmp_path)
    outbox.add(loss(1))
    outbox.sent(1)
    assert json.loads((tmp_path / SENT).read_text()) == {"records": 1, "late": []}
    (tmp_path / SENT).unlink() if content is None else (tmp_path / SENT).write_text(content)
    assert waiting(opened(tmp_path)) == [1]


def test_a_full_disk_is_told_and_only_what_may_be_lost_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = opened(tmp_path)
    outbox.add(loss(1))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            outbox.add(loss(2))
        assert outbox.add(Status(status="FAILED", time_ms=5), volatile=True)
    assert [record.kind for record in outbox.next(9)] == ["metrics", "status"]
    outbox.sent(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outbox.sent(1)  # of what is not on the disk, the disk need not know
    assert outbox.add(loss(2))  # once there is room again
    assert waiting(opened(tmp_path)) == [2]


def test_numbers_that_are_none_survive(tmp_path: Path) -> None:
    opened(tmp_path).add(Metrics(values={"loss": float("inf")}, step=1, time_ms=1))
    (record,) = opened(tmp_path).next(1)
    assert isinstance(record, Metrics)
    assert record.values == {"loss": float("inf")}
    opened(tmp_path).add(Tags(values={"error": None}))
    assert opened(tmp_path).next(2)[1] == Tags(values={"error": None})
