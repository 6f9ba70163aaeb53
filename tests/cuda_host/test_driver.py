"""The driver for tests: sound programs run on it and end well, and each kind of misuse is found.

Every case is a program of its own on the real PyCUDA: what the driver finds, it finds at its end.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.cuda_host import build as host
from tests.cuda_host.build import HostCuda

CRIME_EXIT = 86

OPEN = """
import ctypes, threading
import numpy as np
import pycuda.driver as cuda
cuda.init()
context = cuda.Device(0).retain_primary_context()
context.push()

def locked(size=4096, flags=0):
    array = cuda.pagelocked_empty((size,), np.uint8, mem_flags=flags)
    array[:] = np.arange(size) % 251
    return array

def free(*things):
    for thing in things:
        getattr(thing, "base", thing).free()

driver = ctypes.CDLL("libcuda.so.1")
stream = cuda.Stream()
"""
CLOSE = """
del stream
cuda.Context.pop()
context.detach()
driver.cuCtxPopCurrent_v2(None)  # PyCUDA pushes the context to detach it, and leaves it there
"""

KERNEL = """
#include <cstddef>
#include <cstdint>
#include <cstring>
struct Add { const uint8_t *from; uint8_t *to; int count, amount; };
extern "C" const char host_add_access[] = "rw";
extern "C" int host_add(const void *packed, size_t size, const unsigned *grid, const unsigned *) {
    Add a;
    if (size != sizeof a || grid[0] != 1) return -1;
    std::memcpy(&a, packed, sizeof a);
    for (int i = 0; i < a.count; ++i) a.to[i] = uint8_t(a.from[i] + a.amount);
    return 0;
}
"""
ADD = """
module = cuda.module_from_buffer(b"\\x7fELF" + bytes(64))
add = module.get_function("add")
add.prepare("PPii")
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what the driver reported of it."""

    code: int
    out: str
    err: str
    report: dict[str, Any]


Run = Callable[..., Ended]


@pytest.fixture
def run(host_cuda: HostCuda, tmp_path: Path) -> Run:
    """Runs a program on the driver; ``body`` stands between opening and closing the device."""

    def program(body: str, *, around: tuple[str, str] = (OPEN, CLOSE), **settings: object) -> Ended:
        report = tmp_path / "report.json"
        ended = subprocess.run(
            [sys.executable, "-c", around[0] + dedent(body) + around[1]],
            env=host_cuda.environment(report=report, **settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found = json.loads(report.read_text()) if report.exists() else {}
        report.unlink(missing_ok=True)
        return Ended(ended.returncode, ended.stdout, ended.stderr, found)

    return program


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the kernel ``add``."""
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "add.cpp").write_text(KERNEL)
    command = ["g++", "-shared", "-fPIC", "-o", "add.so", "add.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "add.so"


# ---- sound programs ----

SOUND = {
    "nothing": "",
    "a copy to the device and back": """
        a, b, m = locked(), locked(), cuda.mem_alloc(4096)
        b[:] = 0
        cuda.memcpy_htod_async(m, a, stream)
        cuda.memcpy_dtoh_async(b, m, stream)
        stream.synchronize()
        assert (a == b).all()
        free(a, b, m)
    """,
    "copies that wait, of memory that is not page-locked": """
        a, b, m = np.arange(100), np.zeros(100, int), cuda.mem_alloc(800)
        cuda.memcpy_htod(m, a)
        cuda.memcpy_dtoh(b, m)
        assert (a == b).all()
        free(m)
    """,
    "the default stream behind another": """
        b, m = np.zeros(16, np.uint8), cuda.mem_alloc(16)
        cuda.memset_d8_async(m, 7, 16, stream)
        cuda.memcpy_dtoh(b, m)
        assert (b == 7).all()
        free(m)
    """,
    "an event between two streams": """
        a, m, other, event = locked(), cuda.mem_alloc(4096), cuda.Stream(), cuda.Event()
        cuda.memset_d8_async(m, 4, 4096, stream)
        event.record(stream)
        other.wait_for_event(event)
        cuda.memcpy_dtoh_async(a, m, other)
        other.synchronize()
        assert (a == 4).all()
        free(a, m)
        del other, event
    """,
    "an event waited for while its stream goes on": """
        a, b, m, event = locked(), locked(), cuda.mem_alloc(4096), cuda.Event()
        cuda.memcpy_htod_async(m, a, stream)
        event.record(stream)
        cuda.memcpy_dtoh_async(b, m, stream)
        event.synchronize()
        a[:] = 1
        stream.synchronize()
        assert b[250] == 250
        free(a, b, m)
        del event
    """,
    "asking until it is done": """
        a, m, event = locked(), cuda.mem_alloc(4096), cuda.Event()
        cuda.memset_d8_async(m, 9, 4096, stream)
        cuda.memcpy_dtoh_async(a, m, stream)
        event.record(stream)
        while not event.query(): pass
        assert stream.is_done() and (a == 9).all()
        free(a, m)
        del event
    """,
    "time between events": """
        first, last = cuda.Event(), cuda.Event()
        untimed = cuda.Event(cuda.event_flags.DISABLE_TIMING)
        first.record(stream)
        last.record(stream)
        untimed.record(stream)
        cuda.Context.synchronize()
        assert 0 <= first.time_till(last) < 1000
        try: first.time_till(untimed)
        except cuda.LogicError: pass
        else: raise SystemExit("an event without times has one")
        del first, last, untimed
    """,
    "memory mapped into the device": """
        a = locked(flags=cuda.host_alloc_flags.DEVICEMAP)
        cuda.memset_d8_async(a.base.get_device_pointer() + 1, 5, 2, stream)
        stream.synchronize()
        assert list(a[:4]) == [0, 5, 5, 3]
        free(a)
    """,
    "a context on four threads": """
        def work():
            context.push()
            mine, a, m = cuda.Stream(), locked(), cuda.mem_alloc(4096)
            for turn in range(50):
                cuda.memset_d8_async(m, turn, 4096, mine)
                cuda.memcpy_dtoh_async(a, m, mine)
                mine.synchronize()
                assert (a == turn).all()
            free(a, m)
            del mine, a, m
            cuda.Context.pop()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """,
    "more streams, one after the other, than there are at once": """
        for _ in range(100):
            extra = cuda.Stream()
            del extra
    """,
    "the context opened again": """
        del stream
        cuda.Context.pop()
        context.detach()
        driver.cuCtxPopCurrent_v2(None)
        context = cuda.Device(0).retain_primary_context()
        context.push()
        stream = cuda.Stream()
    """,
}


@pytest.mark.parametrize("body", SOUND.values(), ids=SOUND)
@pytest.mark.parametrize("delay_us", [0, 2000])
def test_a_sound_program_ends_well(run: Run, body: str, delay_us: int) -> None:
    ended = run(body, delay_us=delay_us)
    assert ended.code == 0, ended.err
    assert ended.report["crimes"] == []
    assert ended.report["bytes_in_use"] == 0


def test_a_kernel_runs_in_the_order_of_its_stream(run: Run, kernels: Path) -> None:
    ended = run(
        ADD
        + """
a, m, n = locked(), cuda.mem_alloc(4096), cuda.mem_alloc(4096)
cuda.memcpy_htod_async(m, a, stream)
add.prepared_async_call((1, 1), (256, 1, 1), stream, int(m), int(n), 4096, 3)
add.prepared_async_call((1, 1), (256, 1, 1), stream, int(n) + 1, int(m), 4095, 3)
cuda.memcpy_dtoh_async(a, m, stream)
stream.synchronize()
print(*a[:4])
free(a, m, n)
del add, module
""",
        kernels=kernels,
        delay_us=500,
    )
    assert ended.code == 0, ended.err
    assert ended.out == "7 8 9 10\n"  # element i + 1, which was i + 1, and twice 3
    assert ended.report["launches"] == 2


def test_work_does_not_run_before_the_call_returns(run: Run) -> None:
    """Deferred, so that a program that does not wait sees it: here the job cannot have begun."""
    ended = run(
        """
        held = threading.Event()
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: held.wait())
        nothing = ctypes.c_void_p()
        driver.host_cuda_enqueue(ctypes.c_void_p(stream.handle), entry, None, 0, None, None, b"")
        m = cuda.mem_alloc(16)
        cuda.memset_d8_async(m, 1, 16, stream)
        print(stream.is_done())
        held.set()
        stream.synchronize()
        print(stream.is_done())
        free(m)
        """
    )
    assert ended.code == 0, ended.err
    assert ended.out == "False\nTrue\n"


# ---- misuse: the body and what is said of it ----

UNSYNCHRONISED = "a, m = locked(), cuda.mem_alloc(4096)\n"
CRIMES = {
    "device memory is leaked": (
        "leak = cuda.mem_alloc(10)",
        "device memory 1 of 10 bytes is leaked",
    ),
    "page-locked memory is leaked": (
        "leak = locked(12)",
        "page-locked buffer 1 of 12 bytes is leaked",
    ),
    "a stream is leaked": ("x = cuda.Stream()", "leaked: 1 streams, 0 events, 0 modules"),
    "an event is leaked": ("x = cuda.Event()", "leaked: 0 streams, 1 events, 0 modules"),
    "device memory is freed twice": (
        "m = cuda.mem_alloc(10); driver.cuMemFree_v2(ctypes.c_uint64(int(m))); m.free()",
        "cuMemFree_v2: device memory 1 is freed twice",
    ),
    "page-locked memory is freed twice": (
        "a = locked(); driver.cuMemFreeHost(ctypes.c_void_p(a.ctypes.data)); a.base.free()",
        "cuMemFreeHost: page-locked buffer 1 is freed twice",
    ),
    "what was never allocated is freed": (
        "driver.cuMemFree_v2(ctypes.c_uint64(4096))",
        "cuMemFree_v2: this address was never allocated",
    ),
    "freed device memory is written": (
        """
        m = cuda.mem_alloc(16); at = int(m); m.free()
        try: cuda.memset_d8_async(at, 0, 16, stream)
        except cuda.LogicError: pass
        """,
        "cuMemsetD8Async: device memory 1 is used after it was freed",
    ),
    "a copy is longer than its device memory": (
        """
        m = cuda.mem_alloc(16)
        try: cuda.memcpy_htod(int(m) + 8, np.zeros(9, np.uint8))
        except cuda.LogicError: pass
        free(m)
        """,
        "cuMemcpyHtoD_v2: 9 bytes at byte 8 of device memory 1 of 16",
    ),
    "a host address stands for a device address": (
        """
        a = locked(flags=cuda.host_alloc_flags.DEVICEMAP)
        try: cuda.memset_d8_async(a.ctypes.data, 0, 16, stream)
        except cuda.LogicError: pass
        free(a)
        """,
        "is no address of device memory",
    ),
    "a device address stands for a host address": (
        """
        m = cuda.mem_alloc(16)
        try: cuda.memcpy_htod_async(m, np.frombuffer(m.as_buffer(16), np.uint8), stream)
        except cuda.LogicError: pass
        free(m)
        """,
        "is no address of host memory",
    ),
    "two streams use one buffer": (
        """
        m, other = cuda.mem_alloc(16), cuda.Stream()
        cuda.memset_d8_async(m, 0, 16, stream)
        cuda.memset_d8_async(int(m) + 8, 0, 8, other)
        cuda.Context.synchronize()
        free(m); del other
        """,
        "stream 2 uses device memory 1 while stream 1 still writes it",
    ),
    "a buffer is freed before its stream is synchronised": (
        """
        m = cuda.mem_alloc(16)
        cuda.memset_d8_async(m, 0, 16, stream)
        free(m)
        stream.synchronize()
        """,
        "cuMemFree_v2: device memory 1 is freed while stream 1 may still use it",
    ),
    "a stream is destroyed before it is synchronised": (
        """
        other, event = cuda.Stream(), cuda.Event()
        event.record(other)
        del other, event
        """,
        "stream 2 is destroyed before it is synchronised",
    ),
    "memory that is not page-locked is copied asynchronously": (
        """
        m = cuda.mem_alloc(16)
        cuda.memcpy_htod_async(m, np.zeros(16, np.uint8), stream)
        free(m)
        """,
        "cuMemcpyHtoDAsync_v2: asynchronous copy of memory that is not page-locked",
    ),
    "a call comes without a context": (
        """
        cuda.Context.pop()
        try: cuda.mem_get_info()
        except cuda.LogicError: pass
        context.push()
        """,
        "cuMemGetInfo_v2: called from a thread without a context",
    ),
    "a call comes from a thread without a context": (
        """
        def work():
            try: cuda.mem_alloc(16)
            except cuda.LogicError: pass
        thread = threading.Thread(target=work); thread.start(); thread.join()
        """,
        "cuMemAlloc_v2: called from a thread without a context",
    ),
    "a context is left on the stack of a thread": (
        """
        context_of = ctypes.c_void_p(context.handle)
        thread = threading.Thread(target=driver.cuCtxPushCurrent_v2, args=(context_of,))
        thread.start(); thread.join()
        """,
        "a context is left on the stack of a thread",
    ),
    "a context is popped once too often": (
        "thread = threading.Thread(target=driver.cuCtxPopCurrent_v2, args=(None,))\n"
        "thread.start(); thread.join()",
        "a context is popped from an empty stack",
    ),
    "a call is none of this driver's": (
        "try: cuda.Context.get_limit(cuda.limit.STACK_SIZE)\nexcept cuda.LogicError: pass",
        "cuCtxGetLimit is not part of the driver for tests",
    ),
}


@pytest.mark.parametrize(("body", "said"), CRIMES.values(), ids=CRIMES)
def test_misuse_is_found_and_fails(run: Run, body: str, said: str) -> None:
    ended = run(body)
    assert ended.code == CRIME_EXIT, (ended.code, ended.err)
    (found,) = ended.report["crimes"]
    assert said in found
    assert f"host cuda: {found}" in ended.err


def test_a_primary_context_that_is_retained_for_ever_fails(run: Run) -> None:
    ended = run("driver.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0)")
    assert ended.code == CRIME_EXIT, ended.err
    assert ended.report["crimes"] == ["the primary context is never released"]


def test_a_call_after_the_context_was_released_is_found(run: Run) -> None:
    ended = run(
        "",
        around=(
            OPEN,
            CLOSE.replace("driver.", "driver.cuCtxSynchronize(); driver."),
        ),
    )
    assert ended.code == CRIME_EXIT, ended.err
    assert ended.report["crimes"] == ["cuCtxSynchronize: called from a thread without a context"]


def test_a_context_that_ends_while_a_thread_works_with_it_is_found(run: Run) -> None:
    ended = run(
        """
        pushed, over = threading.Event(), threading.Event()
        def work():
            driver.cuCtxPushCurrent_v2(ctypes.c_void_p(context.handle))
            pushed.set()
            over.wait()
            driver.cuCtxPopCurrent_v2(None)
        thread = threading.Thread(target=work)
        thread.start()
        pushed.wait()
        """,
        around=(OPEN, CLOSE + "over.set()\nthread.join()\n"),
    )
    assert ended.code == CRIME_EXIT, ended.err
    assert ended.report["crimes"] == ["a context is left on the stack of a thread"]


def test_what_detaching_leaves_on_the_stack_is_found(run: Run) -> None:
    ended = run("", around=(OPEN, CLOSE.rpartition("driver.")[0]))
    assert ended.code == CRIME_EXIT, ended.err
    assert ended.report["crimes"] == ["a context is left on the stack of a thread"]


FAULTS = {
    "what a stream writes is read": (
        "cuda.memcpy_dtoh_async(a, m, stream)\nprint(a[0])",
        "touches page-locked buffer 1 before stream 1, which writes it, is synchronised",
    ),
    "what a stream writes is read after another stream was waited for": (
        "other = cuda.Stream()\ncuda.memcpy_dtoh_async(a, m, stream)\n"
        "other.synchronize()\nprint(a[0])",
        "touches page-locked buffer 1 before stream 1, which writes it, is synchronised",
    ),
    "what a stream writes is read after an earlier event": (
        "event = cuda.Event()\nevent.record(stream)\ncuda.memcpy_dtoh_async(a, m, stream)\n"
        "event.synchronize()\nprint(a[0])",
        "touches page-locked buffer 1 before stream 1, which writes it, is synchronised",
    ),
    "what a stream reads is written": (
        "cuda.memcpy_htod_async(m, a, stream)\na[0] = 1",
        "touches page-locked buffer 1 before stream 1, which reads it, is synchronised",
    ),
    "mapped memory that a stream writes is read": (
        "c = locked(flags=cuda.host_alloc_flags.DEVICEMAP)\n"
        "cuda.memset_d8_async(c.base.get_device_pointer(), 0, 1, stream)\nprint(c[0])",
        "touches page-locked buffer 3 before stream 1, which writes it, is synchronised",
    ),
    "page-locked memory is read after it was freed": (
        "view = a[:]\nat = a.ctypes.data\na.base.free()\nctypes.string_at(at, 1)",
        "page-locked buffer 1 is used after it was freed",
    ),
    "device memory is read by the program": (
        "np.frombuffer(m.as_buffer(16), np.uint8).sum()",
        "the program touches device address",
    ),
}


@pytest.mark.parametrize(("body", "said"), FAULTS.values(), ids=FAULTS)
def test_a_touch_out_of_turn_ends_the_program_where_it_stands(
    run: Run, body: str, said: str
) -> None:
    ended = run(UNSYNCHRONISED + body)
    assert ended.code == -signal.SIGSEGV, ended.err
    assert len(ended.report["crimes"]) == 1
    assert said in ended.report["crimes"][0]
    assert 'File "<string>", line' in ended.err  # Python's own traceback


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("int(m), int(n), 4096, 1", "a kernel leaves device memory 2"),
        ("int(n), int(m), 4096, 1", "a kernel leaves device memory 2"),
    ],
    ids=["written", "read"],
)
def test_a_kernel_that_leaves_its_memory_is_found(
    run: Run, kernels: Path, arguments: str, said: str
) -> None:
    ended = run(
        ADD
        + "m, n = cuda.mem_alloc(4096), cuda.mem_alloc(3840)\n"
        + f"add.prepared_async_call((1, 1), (256, 1, 1), stream, {arguments})\n"
        + "stream.synchronize()\n",
        kernels=kernels,
    )
    assert ended.code == -signal.SIGSEGV, ended.err
    assert said in ended.report["crimes"][0]


def test_a_kernel_with_freed_memory_is_found(run: Run, kernels: Path) -> None:
    ended = run(
        ADD
        + """
m, n = cuda.mem_alloc(4096), cuda.mem_alloc(4096)
freed = int(n)
n.free()
try: add.prepared_async_call((1, 1), (256, 1, 1), stream, int(m), freed, 4096, 1)
except cuda.Error: pass
free(m)
del add, module
""",
        kernels=kernels,
    )
    assert ended.code == CRIME_EXIT, ended.err
    assert ended.report["crimes"] == ["cuLaunchKernel: device memory 2 is used after it was freed"]


def test_a_module_that_is_not_unloaded_is_a_leak(run: Run, kernels: Path) -> None:
    ended = run(ADD, kernels=kernels)
    assert ended.code == CRIME_EXIT, ended.err
    assert "leaked: 0 streams, 0 events, 1 modules" in ended.report["crimes"][0]


def test_a_context_left_current_at_the_end_fails(run: Run) -> None:
    ended = run("", around=(OPEN, "\ndel stream"))
    assert ended.code not in (0, 1)
    assert "the primary context is never released" in ended.report["crimes"]
    assert "a context is left on the stack of a thread" in ended.report["crimes"]


def test_work_that_never_comes_to_an_end_does_not_hold_the_exit(run: Run) -> None:
    ended = run(
        """
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: threading.Event().wait())
        driver.host_cuda_enqueue(ctypes.c_void_p(stream.handle), entry, None, 0, None, None, b"")
        """
    )
    assert ended.code == CRIME_EXIT, ended.err
    # Whether its thread still waits is Python's matter: some versions end it when they end.
    assert ended.report["crimes"][0] == "stream 1 is destroyed before it is synchronised"


# ---- the device that is played ----


def test_the_device_is_what_its_settings_say(run: Run) -> None:
    ended = run(
        """
        device, which = cuda.Device(0), cuda.device_attribute
        print(device.name(), device.compute_capability(), device.total_memory(), sep="; ")
        print(device.get_attribute(which.MULTIPROCESSOR_COUNT), device.integrated)
        print(cuda.get_driver_version(), cuda.Device.count(), cuda.mem_get_info())
        """,
        name="NVIDIA RTX 4090",
        cc="8.9",
        sms=128,
        memory_mb=2,
        integrated=0,
        driver=13000,
    )
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        "NVIDIA RTX 4090; (8, 9); 2097152",
        "128 0",
        "13000 1 (2097152, 2097152)",
    ]


def test_a_full_device_memory_is_an_error_of_pycuda(run: Run) -> None:
    ended = run(
        """
        m = cuda.mem_alloc(700_000)
        try: cuda.mem_alloc(400_000)
        except cuda.MemoryError as error: print(error)
        print(cuda.mem_get_info()[0])
        free(m)
        """,
        memory_mb=1,
    )
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == ["cuMemAlloc failed: out of memory", "348576"]


def test_a_failed_launch_spoils_every_later_call_and_hides_no_exit_code(
    run: Run, kernels: Path
) -> None:
    ended = run(
        ADD
        + """
m, n = cuda.mem_alloc(4096), cuda.mem_alloc(4096)
for launch in range(3):
    add.prepared_async_call((1, 1), (256, 1, 1), stream, int(m), int(n), 4096, 1)
    try: stream.synchronize()
    except cuda.Error as error:
        print(launch, error)
        break
try: cuda.mem_alloc(16)
except cuda.Error as error: print(error)
free(m, n)
del add, module
""",
        around=(OPEN, CLOSE + "\nraise SystemExit(6)"),
        kernels=kernels,
        fail="launch:214:2",
    )
    assert ended.code == 6, ended.err
    assert ended.out.splitlines() == [
        "1 cuStreamSynchronize failed: uncorrectable ECC error encountered",
        "cuMemAlloc failed: uncorrectable ECC error encountered",
    ]
    assert ended.report["crimes"] == []


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ("init:100", "cuInit failed: no CUDA-capable device is detected"),
        ("retain:46", "cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy"),
        ("pinned:2", "cuMemHostAlloc failed: out of memory"),
        ("alloc:2:2", "cuMemAlloc failed: out of memory"),
    ],
)
def test_a_planned_failure_comes_from_its_call(run: Run, fail: str, said: str) -> None:
    ended = run("a = cuda.mem_alloc(16); b = locked(); c = cuda.mem_alloc(16)", fail=fail)
    assert ended.code != 0
    assert said in ended.err


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ('b"no image at all"', "device kernel image is invalid"),
        ("bytes.fromhex('50ed55ba') + bytes(60)", "no kernel image is available for execution"),
    ],
)
def test_an_image_that_is_not_for_this_device_is_refused(run: Run, image: str, said: str) -> None:
    ended = run(f"try: cuda.module_from_buffer({image})\nexcept cuda.Error as error: print(error)")
    assert ended.code == 0, ended.err
    assert said in ended.out


# ---- building it ----


def test_the_toolkit_is_found_by_its_headers(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    assert host.toolkit({"CUDA_HOME": str(tmp_path), "PATH": ""}) != tmp_path
    (tmp_path / "include" / "cuda.h").touch()
    assert host.toolkit({"CUDA_HOME": str(tmp_path), "PATH": ""}) == tmp_path
