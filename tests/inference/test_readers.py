"""Items are calls (functools.partial) of libraries' functions, so that a fresh process can unpickle them."""

import multiprocessing
import operator
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.inference import InferenceConfig
from pipeline.errors import DamagedFileError
from pipeline.formats import registry
from pipeline.inference import readers
from pipeline.inference.reader_process import Limits
from pipeline.inference.readers import Outcome, run_isolated

CALL = operator.methodcaller("__call__")
Call = Callable[[], Any]
FOREVER = 3600.0
"""Seconds that no test would wait for."""


def limits(*, workers: int = 1, deadline: float = 60.0, memory_gb: float = 8.0) -> InferenceConfig:
    return InferenceConfig(readers=workers, read_deadline_seconds=deadline, reader_memory_gb=memory_gb)


@pytest.fixture(autouse=True)
def plenty_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are those of the settings, whatever the machine has free."""
    monkeypatch.setattr(readers, "available_bytes", lambda: None)


def run(items: list[Call], config: InferenceConfig | None = None) -> list[Outcome]:
    return list(run_isolated(CALL, items, config or limits()))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def _value(outcome: Outcome[Any, int]) -> int:
    assert outcome.value is not None, outcome.error
    return outcome.value


def test_outcomes_come_in_the_order_of_the_items_though_later_ones_are_faster() -> None:
    items: list[Call] = [partial(time.sleep, 0.4), *(partial(abs, -number) for number in range(5))]
    outcomes = run(items, limits(workers=2))
    assert [outcome.value for outcome in outcomes] == [None, 0, 1, 2, 3, 4]
    assert all(outcome.item is item for outcome, item in zip(outcomes, items, strict=True))
    assert [outcome.error for outcome in outcomes] == [None] * 6


def test_without_items_there_are_no_outcomes_and_no_processes() -> None:
    assert run([]) == []
    assert multiprocessing.active_children() == []


def test_the_seconds_are_at_least_those_of_the_call() -> None:
    (outcome,) = run([partial(time.sleep, 0.3)])
    assert outcome.seconds >= 0.3


def test_an_array_arrives_whole_and_writable() -> None:
    (outcome,) = run([partial(np.arange, 300_000)])
    assert outcome.value is not None
    np.testing.assert_array_equal(outcome.value, np.arange(300_000))
    assert outcome.value.flags.writeable


@pytest.mark.parametrize(
    ("item", "message"),
    [
        pytest.param(
            partial(signal.raise_signal, signal.SIGKILL),
            r"Expected a scan that can be read; found that reading it crashed: the process was killed by SIGKILL\. "
            r"The machine may be out of memory",
            id="killed",
        ),
        pytest.param(
            partial(signal.raise_signal, signal.SIGSEGV),
            r"the process was killed by SIGSEGV\. Look whether the file is damaged",
            id="segmentation fault",
        ),
        pytest.param(partial(os._exit, 7), r"the process ended with exit code 7\. Look whether", id="exits at once"),
        pytest.param(partial(os._exit, 0), r"the process ended with exit code 0\. Look whether", id="exits as if done"),
        pytest.param(partial(sys.exit, 3), r"an unexpected SystemExit: 3 \(", id="sys.exit"),
        pytest.param(
            partial(bytearray, 2**40),
            r"Expected a scan that can be read within 8 GB of memory; found one that needs more .*reader_memory_gb",
            id="asks for a terabyte",
        ),
        pytest.param(
            partial(np.zeros, 2**31),
            r"within 8 GB of memory; found one that needs more \(Unable to allocate 16\.0 GiB for an array",
            id="asks for an array that is not touched",
        ),
        pytest.param(
            partial(operator.getitem, {}, "series"),
            r"Expected a scan that can be read; found an unexpected KeyError: 'series' \(\w+\.py, line \d+\)\. Export",
            id="unexpected exception",
        ),
        pytest.param(
            partial(threading.Lock), r"an unexpected TypeError: cannot pickle '_thread\.lock'", id="unpicklable"
        ),
    ],
)
def test_whatever_a_call_does_is_one_outcome_and_the_other_items_go_on(item: Call, message: str) -> None:
    before, failed, after, last = run([partial(abs, -1), item, partial(abs, -2), partial(abs, -3)])
    assert failed.value is None
    assert failed.error is not None
    assert re.search(message, str(failed.error)), failed.error
    assert [(outcome.value, outcome.error) for outcome in (before, after, last)] == [(1, None), (2, None), (3, None)]


def test_an_error_that_a_user_can_mend_arrives_as_it_was_raised() -> None:
    (outcome,) = run([partial(registry.read_scan, Path("absent.nii.gz"))])
    error = outcome.error
    assert type(error) is DamagedFileError
    assert (error.expected, error.found) == ("a readable file", "No such file or directory")
    assert error.remedy == "Check the path and its permissions."


def test_every_item_may_crash() -> None:
    outcomes = run([partial(os._exit, code) for code in (1, 2, 3)], limits(workers=2))
    codes = [re.search(r"exit code (\d)", str(outcome.error)) for outcome in outcomes]
    assert [code and code[1] for code in codes] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "hang",
    [
        pytest.param(partial(time.sleep, FOREVER), id="waits"),
        pytest.param(partial(re.match, "(a+)+$", "a" * 60 + "b"), id="computes in C, deaf to gentle signals"),
    ],
)
def test_a_call_that_hangs_is_killed_at_its_deadline(hang: Call) -> None:
    before, failed, after = run([partial(abs, -1), hang, partial(abs, -2)], limits(deadline=2.0))
    assert str(failed.error) == (
        "Expected a scan that is read within 2 s; found one that was not done by then. "
        "Look whether the file or its disk is at fault, or raise inference.read_deadline_seconds."
    )
    assert failed.seconds >= 2.0
    assert (before.value, after.value) == (1, 2)


def test_a_result_that_was_ready_in_time_but_fetched_late_is_no_failure() -> None:
    outcomes = run_isolated(CALL, [partial(abs, -1), partial(abs, -2)], limits(deadline=2.0))
    next(outcomes)
    time.sleep(2.5)  # the network runs
    assert [(outcome.value, outcome.error) for outcome in outcomes] == [(2, None)]


def test_the_memory_limit_is_the_one_that_was_given() -> None:
    small, large = run([partial(bytearray, 2**26), partial(np.zeros, 4_100_000_000, np.uint8)], limits(memory_gb=4.0))
    assert small.error is None
    assert re.search(r"within 4 GB of memory; found one that needs more \(Unable to allocate", str(large.error))


def test_where_less_memory_is_free_the_limit_is_a_share_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "available_bytes", lambda: 4_500_000_000)
    small, large = run(  # 4.5 GB, for two readers and the main process
        [partial(bytearray, 2**26), partial(np.zeros, 1_600_000_000, np.uint8)], limits(workers=2)
    )
    assert small.error is None
    assert re.search(
        r"Expected a scan that can be read within 1\.5 GB of memory; found one that needs more \(.*\)\. Look whether "
        r"its header is damaged, or take a machine with more memory, or fewer inference\.readers\.",
        str(large.error),
    )


@pytest.mark.parametrize(
    ("free_gb", "readers", "expected_gb"),
    [
        (None, 1, 16.0),  # not known
        (64, 1, 16.0),  # as the settings say
        (24, 1, 12.0),  # half of it is the main process's
        (24, 3, 6.0),
        (0.5, 1, 1.0),  # a process that has less cannot start
    ],
)
def test_a_reader_gets_its_share_of_what_is_free(free_gb: float | None, readers: int, expected_gb: float) -> None:
    free_bytes = None if free_gb is None else int(free_gb * 1e9)
    found = Limits(60.0, 16.0).share_of(free_bytes, readers)
    assert (found.memory_gb, found.is_scarce) == (expected_gb, expected_gb < 16)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a score")
def test_the_kernel_is_to_kill_readers_before_the_main_process() -> None:
    (outcome,) = run([partial(Path.read_text, Path("/proc/self/oom_score_adj"))])
    assert outcome.value is not None
    assert outcome.value.strip() == "500"


class _Unpickles:
    """A function that is the value of an expression when it reaches the other process."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return eval, (self.expression,)

    def __call__(self, item: float) -> int:
        raise AssertionError(f"called with {item} in the main process")


def test_the_start_of_a_process_counts_neither_against_the_deadline_nor_as_time_of_the_call() -> None:
    slow_to_import = _Unpickles("[__import__('time').sleep(3.0), __import__('time').sleep][1]")
    (outcome,) = run_isolated(slow_to_import, [0.5], limits(deadline=2.5))
    assert outcome.error is None
    assert 0.5 <= outcome.seconds < 2.5


def test_a_process_that_cannot_start_fails_every_item_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # processes print where they did when the first of them was started
    outcomes = list(run_isolated(_Unpickles("1 / 0"), [1, 2], limits()))
    assert [str(outcome.error) for outcome in outcomes] == [
        "Expected a reader process that starts; found one that ended with exit code 1. Read what it printed; raise "
        "inference.reader_memory_gb if memory ran out, or mend the installation."
    ] * 2
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_taken_no_further_ahead_than_the_workers(workers: int) -> None:
    taken = 0

    def items() -> Iterator[Call]:
        nonlocal taken
        for number in range(8):
            taken += 1
            yield partial(abs, -number)

    ahead = []
    outcomes = run_isolated(CALL, items(), limits(workers=workers))
    for done, _ in enumerate(outcomes):
        ahead.append(taken - done)
    assert max(ahead) == workers + 1  # the one in hand, and one for each worker
    assert len(ahead) == 8


def test_workers_read_ahead_while_the_outcome_is_used(tmp_path: Path) -> None:
    outcomes = run_isolated(CALL, [partial(abs, -1), partial(os.mkdir, tmp_path / "read")], limits())
    next(outcomes)
    wait_until((tmp_path / "read").exists)  # though nobody has asked for it
    outcomes.close()


def test_one_process_serves_many_items() -> None:
    assert len({outcome.value for outcome in run([partial(os.getpid)] * 4)}) == 1


def test_a_worker_that_is_killed_while_it_waits_for_work_harms_no_item() -> None:
    outcomes = run_isolated(CALL, iter([partial(os.getpid)] * 2), limits(workers=2))
    os.kill(_value(next(outcomes)), signal.SIGKILL)
    assert [outcome.error for outcome in outcomes] == [None]


def test_a_worker_that_is_killed_while_it_sends_a_large_result_takes_only_that_item_with_it() -> None:
    items: list[Call] = [partial(os.getpid), partial(bytes, 2**26), partial(abs, -2), partial(abs, -3)]
    outcomes = run_isolated(CALL, items, limits())
    process_id = _value(next(outcomes))
    time.sleep(0.5)  # by now it is in the middle of 64 MB, for which the pipe has no room
    os.kill(process_id, signal.SIGKILL)
    failed, *others = outcomes
    assert re.search("killed by SIGKILL", str(failed.error))
    assert [outcome.value for outcome in others] == [2, 3]


def test_closing_early_ends_the_processes() -> None:
    items = [partial(time.sleep, 0), *[partial(time.sleep, FOREVER)] * 3]
    outcomes = run_isolated(CALL, items, limits(workers=2))
    next(outcomes)
    assert len(multiprocessing.active_children()) == 2
    outcomes.close()
    assert multiprocessing.active_children() == []


def test_an_exception_in_the_items_ends_the_processes_and_is_raised() -> None:
    def items() -> Iterator[Call]:
        yield partial(abs, -1)
        raise ValueError("no more items")

    with pytest.raises(ValueError, match="no more items"):
        list(run_isolated(CALL, items(), limits()))
    assert multiprocessing.active_children() == []


def test_a_process_imports_nothing_slow_of_its_own_accord() -> None:
    (outcome,) = run([partial(eval, "sorted({'mlflow', 'monai', 'torch'} & set(__import__('sys').modules))")])
    assert outcome.error is None
    assert outcome.value == []


def test_a_process_has_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the server that it is forked from was started."""
    for value in ("first", "second"):
        monkeypatch.setenv("MEDSEG_TEST", value)
        (outcome,) = run([partial(os.getenv, "MEDSEG_TEST")])
        assert outcome.value == value
    monkeypatch.delenv("MEDSEG_TEST")
    (outcome,) = run([partial(os.getenv, "MEDSEG_TEST")])
    assert outcome.value is None


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked here")
def test_a_process_is_forked_from_one_that_has_imported_what_it_needs() -> None:
    parents = [run([os.getppid])[0].value for _ in range(2)]
    assert parents[0] == parents[1] != os.getpid()
    (outcome,) = run([partial(eval, "'nibabel' in __import__('sys').modules")])
    assert outcome.value


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipeline.py", "nibabel.py", "yaml.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'was here')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # the next process is of a server that starts here
    (outcome,) = run([partial(abs, -1)])
    assert outcome.value == 1
    assert not (tmp_path / "was here").exists()
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked here")
def test_a_server_that_was_started_before_is_the_one_that_processes_are_forked_from(tmp_path: Path) -> None:
    (tmp_path / "nibabel.py").write_text(f"open({str(tmp_path / 'was here')!r}, 'w').close()")
    script = (
        "import os, signal\n"
        "from multiprocessing import forkserver\n"
        "from pipeline.config.inference import InferenceConfig\n"
        "from pipeline.inference.readers import run_isolated, start_server\n"
        "import operator\n"
        "start_server()\n"
        "server = forkserver._forkserver._forkserver_pid\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "os.kill(server, signal.SIGINT)\n"  # while it imports
        "(outcome,) = run_isolated(operator.methodcaller('__call__'), [os.getppid], InferenceConfig())\n"
        "print(outcome.value == server)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert not (tmp_path / "was here").exists()


def test_where_no_server_can_be_started_processes_are_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(forkserver.ForkServer, "ensure_running", fail)
    (outcome,) = run([partial(abs, -1)])
    assert outcome.value == 1


@pytest.mark.parametrize("group", [True, False], ids=["ctrl-c in a terminal", "signal to the main process alone"])
def test_an_interrupt_ends_everything_and_leaves_no_process_behind(*, group: bool) -> None:
    script = (
        "import multiprocessing, operator, time\n"
        "from functools import partial\n"
        "from pipeline.config.inference import InferenceConfig\n"
        "from pipeline.inference.readers import run_isolated\n"
        f"calls = [partial(abs, 1), *[partial(time.sleep, {FOREVER})] * 4]\n"
        "call = operator.methodcaller('__call__')\n"
        "outcomes = run_isolated(call, calls, InferenceConfig(readers=2))\n"
        "next(outcomes)\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "next(outcomes)\n"
    )
    main = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert main.stdout is not None
    workers = [int(number) for number in main.stdout.readline().split()]
    time.sleep(0.3)  # by now it waits for the second outcome
    (os.killpg if group else os.kill)(main.pid, signal.SIGINT)
    _, errors = main.communicate(timeout=60)
    assert errors.count("Traceback") == 1  # the main process's own
    assert "KeyboardInterrupt" in errors
    assert len(workers) == 2
    assert [process_id for process_id in workers if Path(f"/proc/{process_id}").exists()] == []
