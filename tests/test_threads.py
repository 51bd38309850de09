import threading

import pytest
import torch

from pipeline.threads import one_thread


def test_one_thread_leaves_other_threads_theirs_and_ends_with_an_error() -> None:
    before, inside, done = torch.get_num_threads(), threading.Event(), threading.Event()
    seen = list[int]()

    def fail() -> None:
        with one_thread():
            seen.append(torch.get_num_threads())
            inside.set()
            done.wait(60)
            raise ValueError("wrong")

    def small() -> None:
        with pytest.raises(ValueError, match="wrong"):
            fail()
        seen.append(torch.get_num_threads())

    torch.set_num_threads(2)
    try:
        other = threading.Thread(target=small)
        other.start()
        inside.wait(60)
        seen.append(torch.get_num_threads())
        done.set()
        other.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2, 2]
