"""OpenVINO in a process that does other things: threads that share a network, signals, number formats."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from pipeline.inference.backends.conversion import convert
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_network
from pipeline.inference.precision import native_precisions
from tests.inference.backends.conftest import MakeRequested


def test_threads_that_share_a_network_get_each_the_logits_of_its_own_window(
    requested: MakeRequested, tmp_path: Path
) -> None:
    request, network = requested()
    backend = OpenVinoBackend(compile_network(convert(network, request, tmp_path), "fp32", threads=1))
    windows = [torch.randn(request.shape, generator=torch.Generator().manual_seed(seed)) for seed in range(16)]
    alone = [backend.logits(window) for window in windows]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backend.logits, windows * 4))
    assert all(torch.equal(found, alone[place % 16]) for place, found in enumerate(together))


def test_a_window_in_another_memory_layout_is_the_same_window(requested: MakeRequested, tmp_path: Path) -> None:
    request, network = requested()
    backend = OpenVinoBackend(compile_network(convert(network, request, tmp_path), "fp32", threads=1))
    window = torch.randn(request.shape, generator=torch.Generator().manual_seed(1))
    expected = backend.logits(window)
    assert torch.equal(backend.logits(window.to(memory_format=torch.channels_last_3d)), expected)


def test_a_number_format_that_the_processor_lacks_is_refused(requested: MakeRequested, tmp_path: Path) -> None:
    if "bf16" in native_precisions(torch.device("cpu")):
        pytest.skip("this processor has bf16 instructions")
    request, network = requested()
    with pytest.raises(RuntimeError, match="where bf16 was asked for"):
        compile_network(convert(network, request, tmp_path), "bf16", threads=1)


def test_networks_may_come_and_go_in_any_thread_without_a_signal_killing_the_process() -> None:
    """With a core for each of them the last line is not reached: the process dies of SIGSEGV."""
    program = """
        import faulthandler, gc, os, signal, threading
        faulthandler.enable()  # as a process of pytest, which has a stack for signals
        from pipeline.inference.backends.openvino_backend import core
        signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
        barrier = threading.Barrier(4)
        def first():
            barrier.wait()
            held.append(core())
        held, threads = [], [threading.Thread(target=first) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        held.append(core())
        for each in held:
            each.available_devices
        assert len({id(each) for each in held}) == 1
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        gc.collect()
        os.kill(os.getpid(), signal.SIGUSR1)
        print("alive", flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr


def test_it_does_not_report_to_its_makers() -> None:
    program = """
        import sys
        from pipeline.inference.backends.openvino_backend import load_openvino
        load_openvino()
        print(sys.modules["openvino_telemetry"], "openvino.tools.ovc.telemetry_stub" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "None True"
