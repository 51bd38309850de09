"""Doing the cases of a plan: readers work ahead of the network, and files are written behind it."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from filelock import FileLock

from pipeline.commands.prediction_files import Written, write_case
from pipeline.commands.prediction_plan import Planned, kept, place_taken, remove_results
from pipeline.commands.prediction_record import PredictionRecord, Ran
from pipeline.commands.prediction_session import Session
from pipeline.errors import OutputError, TooLargeError, reason_of
from pipeline.files import NO_ROOM
from pipeline.inference.batch import InputFile
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import Outcome, run_isolated
from pipeline.inference.reading import ReadScan, read_and_prepare
from pipeline.inference.segmentation import Segmentation

JUDGED_BEHIND = 2_000_000
"""Voxels of a prepared scan whose mask a thread judges while the network does the next one. Judging a larger one takes
memory, which is to be given back before the next one asks how much is left, and little of its time."""
WRITTEN_BEHIND = 1
"""Cases that are being written, or wait for it, while the network does the next one; each holds its scan in memory."""
POLL_SECONDS = 1.0
"""Between two looks whether a case is free that another process has begun."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """What the cases of a run have in common.

    Attributes:
        predictor: the model, loaded once.
        record: of the folder of results.
        session: of the processes that share it.
        stop: set where no further case is to be begun.
    """

    predictor: Predictor
    record: PredictionRecord
    session: Session
    stop: threading.Event


@dataclass(frozen=True)
class Result:
    """What became of a planned case.

    Attributes:
        index: of the case in the plan.
        item: the case with its status, action and reason.
        seconds: of reading, network and writing.
        written: what was written, of a case that was done in this run.
    """

    index: int
    item: Planned
    seconds: float = 0.0
    written: Written | None = None


@dataclass(frozen=True)
class _Claim:
    """A case that no other process does, as long as its lock is held."""

    index: int
    item: Planned
    lock: FileLock


@dataclass
class _Round:
    """The cases that are gone through, in which those of other processes are passed over.

    Attributes:
        todo: indices in the plan.
        claims: what was begun and is not read yet, in order.
        others: indices of the cases that another process works on.
        done: the cases that another one has finished.
    """

    todo: Sequence[int]
    claims: deque[_Claim] = field(default_factory=deque)
    others: list[int] = field(default_factory=list)
    done: list[Result] = field(default_factory=list)


def run_cases(plan: Sequence[Planned], batch: Batch) -> Iterator[Result]:
    """A result for every case, as soon as there is one; none for what a stop leaves.

    The cases that other processes have begun come last; where one of these ends without a mask, the case is done here.
    """
    yield from (Result(index, item) for index, item in enumerate(plan) if not item.is_to_do)
    todo: Sequence[int] = [index for index, item in enumerate(plan) if item.is_to_do]
    while todo and not batch.stop.is_set():
        now = _Round(todo)
        yield from _run_round(plan, now, batch)
        yield from now.done
        if len(now.others) == len(todo):
            batch.stop.wait(POLL_SECONDS)
        todo = now.others


def finished_meanwhile(plan: Sequence[Planned], without: Sequence[int], batch: Batch) -> Iterator[Result]:
    """Of cases that a run has ended without, those that are done all the same: their files were being written.

    Args:
        plan: all cases.
        without: indices of the cases without a result.
        batch: as for `run_cases`.
    """
    for index in without:
        result = _ended(index, plan[index], batch) if plan[index].is_to_do else None
        if result is not None:
            yield replace(result, item=replace(result.item, action=result.item.action and "done"))


def _run_round(plan: Sequence[Planned], now: _Round, batch: Batch) -> Iterator[Result]:
    read = partial(read_and_prepare, fitted=batch.predictor.manifest.preprocessing)
    outcomes = run_isolated(read, _claimed(plan, now, batch), batch.predictor.config)
    behind = deque[tuple[_Claim, Future[Result]]]()
    with ExitStack() as held:
        held.callback(_release_all, now, behind)
        writer = held.enter_context(ThreadPoolExecutor(1, "writer"))
        for outcome in held.enter_context(closing(outcomes)):
            while behind and behind[0][1].done():  # before the network runs for minutes
                yield _finished(*behind.popleft(), batch=batch)
            claim = now.claims.popleft()
            written = [future for _, future in behind]
            behind.append((claim, _predict(claim, outcome, written, batch=batch, writer=writer)))
            while len(behind) > WRITTEN_BEHIND:
                yield _finished(*behind.popleft(), batch=batch)
            if batch.stop.is_set():
                break
        while behind:
            yield _finished(*behind.popleft(), batch=batch)


def _claimed(plan: Sequence[Planned], now: _Round, batch: Batch) -> Iterator[InputFile]:
    """The inputs that are done here; what is begun is locked before it is read."""
    for index in now.todo:
        if batch.stop.is_set():
            return
        entry, lock = plan[index].entry, batch.session.claim(plan[index].entry.case)
        if lock is None:
            now.others.append(index)
            continue
        ended = _ended(index, plan[index], batch)
        if ended is not None:
            lock.release()
            now.done.append(ended)
        else:
            now.claims.append(_Claim(index, plan[index], lock))
            yield entry


def _ended(index: int, item: Planned, batch: Batch) -> Result | None:
    """What this process, or one that shares its work, has made of a case since the plan was made; None for nothing."""
    known = batch.record.outcome_in(batch.session.name, item.entry.case)
    if known is None:
        return None
    return Result(index, item.failed(known.failure) if known.failure else kept(item.entry, batch.record))


def _predict(
    claim: _Claim,
    outcome: Outcome[InputFile, ReadScan],
    written: Sequence[Future[Result]],
    *,
    batch: Batch,
    writer: ThreadPoolExecutor,
) -> Future[Result]:
    """Run the network on what was read; a thread judges the mask, where it is small, and writes the files.

    Where memory is short, once more when the cases before it have been written, and have given theirs free.
    """
    started = time.monotonic() - outcome.seconds
    if outcome.value is None:
        return _settled(_failure(claim, str(outcome.error), outcome.seconds))
    try:
        try:
            masked = batch.predictor.mask(outcome.value.prepared)
        except TooLargeError:
            wait(written)
            masked = batch.predictor.mask(outcome.value.prepared)
        judge = partial(batch.predictor.judge, masked)
        found = partial(_given, judge()) if math.prod(masked.prepared.trail.shape) > JUDGED_BEHIND else judge
    except Exception as error:
        return _settled(_failure(claim, _reason(claim, error), time.monotonic() - started))
    return writer.submit(_write, claim, outcome.value, found, batch=batch, started=started)


def _given(segmentation: Segmentation) -> Segmentation:
    return segmentation


def _write(claim: _Claim, read: ReadScan, found: Callable[[], Segmentation], *, batch: Batch, started: float) -> Result:
    """Have a mask judged, and write the files of its case, or leave none."""
    case, record, predictor = claim.item.entry.case, batch.record, batch.predictor
    try:
        segmentation = found()
        if not record.owns(case):  # such as those of a case whose name the file system takes for the same
            raise place_taken(record.output / case)
        remove_results(case, record)
        compute = predictor.compute
        ran = Ran(device=compute.device.type, backend=predictor.backend.name, precision=compute.precision)
        record.begin(case, read.sha256, session=batch.session.name, ran=ran)
        written = write_case(
            record.output / case,
            read,
            segmentation,
            manifest=predictor.manifest,
            config=predictor.config,
            doubts=claim.item.entry.doubts,
        )
        record.finish(case, written.reasons)
    except Exception as error:
        with suppress(OSError):  # where a file cannot be removed, the row still says that the case failed
            if record.owns(case):
                remove_results(case, record)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise _no_room(record, error) from error
        return _failure(claim, _reason(claim, error), time.monotonic() - started)
    reasons = [*claim.item.entry.doubts, *written.reasons]
    return Result(claim.index, claim.item.to_review(reasons), time.monotonic() - started, written)


def _no_room(record: PredictionRecord, error: OSError) -> OutputError:
    return OutputError(
        "a folder that can be written to",
        f"{record.output}: {error.strerror}",
        "Free space there or choose another folder, and run again; finished cases are kept.",
    )


def _finished(claim: _Claim, future: "Future[Result]", *, batch: Batch) -> Result:
    """The result of a case, which is then free for other processes; they do not try again what has failed."""
    try:
        result = future.result()
        if result.item.status == "failed":
            with suppress(OSError):
                batch.record.fail(claim.item.entry.case, result.item.reason, session=batch.session.name)
        return result
    finally:
        claim.lock.release()


def _settled(result: Result) -> "Future[Result]":
    future = Future[Result]()
    future.set_result(result)
    return future


def _failure(claim: _Claim, reason: str, seconds: float) -> Result:
    return Result(claim.index, claim.item.failed(reason), seconds)


def _reason(claim: _Claim, error: Exception) -> str:
    log.debug("case %s failed", claim.item.entry.case, exc_info=error)
    return reason_of(error)


def _release_all(now: _Round, behind: "deque[tuple[_Claim, Future[Result]]]") -> None:
    for claim in (*now.claims, *(claim for claim, _ in behind)):
        claim.lock.release()
