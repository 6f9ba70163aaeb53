"""Reconnecting costs nothing that stays: a thousand connections leave the process as it was."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

from edge.sources import SourceOptions, open_source
from edge.sources.live.supervisor import Supervised
from tests.field.link import Link
from tests.field.mjpeg_camera import ROOT
from tests.field.rtsp_camera import RtspCamera

RECONNECTS = 1000
SETTLED = 200
"""Until then buffers and caches grow: by 5 MB here."""
GROWTH_MB = 4.0
"""Measured here: 0.1 MB from 200 to 1000. A picture of 256x128 kept at each would be 79 MB."""


@pytest.fixture
def url() -> Iterator[str]:
    """A camera in a process of its own that ends each connection after four pictures."""
    command = [sys.executable, "-m", "tests.field.mjpeg_camera", "--fps=1000", "--frames=4"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as camera:
        assert camera.stdout is not None
        assert camera.stdin is not None
        yield camera.stdout.readline().strip()
        camera.stdin.close()


def measure(url: str) -> None:
    """Print threads, descriptors and memory in MB after every so many reconnects, and the ids."""
    process, stop = psutil.Process(), threading.Event()
    options = SourceOptions(reconnect=True, retry_s=0.001)
    source = open_source(url, policy="drop", stop=stop, options=options)
    assert isinstance(source, Supervised)
    seen: dict[int, tuple[int, int, float]] = {}
    ids = []
    while (count := source.counts().reconnects) < RECONNECTS:
        frame = source.read()
        assert frame is not None
        ids.append(frame.id)
        if count % SETTLED == 0 and count not in seen:
            rss_mb = process.memory_info().rss / 1e6
            seen[count] = (process.num_threads(), process.num_fds(), rss_mb)
    stop.set()
    source.close()
    print(json.dumps({"seen": [seen[n] for n in seen if n >= SETTLED], "ids": ids}))


@pytest.mark.slow
def test_a_thousand_reconnects_leave_threads_descriptors_and_memory_as_they_were(url: str) -> None:
    program = "import sys; from tests.field.test_reconnects import measure; measure(sys.argv[1])"
    # In a process of its own: that of other tests takes and gives back what it likes.
    # Each connection has a thread, and glibc gives threads memory of their own that fills unevenly:
    # by one arena it grows by what is kept alone.
    environ = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, url],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    threads, descriptors, memory_mb = zip(*told["seen"], strict=True)
    assert len(threads) == RECONNECTS / SETTLED - 1
    assert max(threads) == min(threads)
    assert max(descriptors) == min(descriptors)
    assert memory_mb[-1] - memory_mb[0] < GROWTH_MB
    assert told["ids"] == sorted(set(told["ids"]))


@pytest.fixture
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_collection")
def test_the_threads_of_a_decoder_end_with_its_connection(camera: RtspCamera) -> None:
    camera.start()
    stop, process = threading.Event(), psutil.Process()
    options = SourceOptions(reconnect=True, retry_s=0.001)
    with Link(camera.port) as link:
        source = open_source(camera.url(port=link.port), policy="drop", stop=stop, options=options)
        threads = []
        for _ in range(6):  # each H.264 decoder has one for every core
            assert source.read() is not None
            threads.append(process.num_threads())
            link.cut()
        stop.set()
        source.close()
    assert max(threads[1:]) - min(threads[1:]) <= 1
