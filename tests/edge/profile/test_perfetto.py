"""Perfetto's own reader finds in a trace what the run did, though the last line is cut."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from pathlib import Path

import pytest

from edge.metrics.metrics import STAGES
from edge.profile import trace as traces
from edge.profile.trace import Trace
from edge.telemetry.sample import Fact, Reading
from edge.telemetry.telemetry import Telemetry
from tests.edge.profile.frames import MS, told
from tests.edge.profile.perfetto import perfetto
from tests.edge.run.test_observers import Noted
from tests.edge.scripted import Script, ScriptedPerception, ScriptedSink, ScriptedSource, frame

pytestmark = pytest.mark.slow
SPANS = [stage for stage in STAGES if stage != "end_to_end"]


class _Warm:
    def read(self) -> list[Fact]:
        return [Reading("temperature", "CPU", 41.5)]


def test_perfetto_reads_what_a_run_did_though_the_trace_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "PERIOD_S", 0.001)
    path, noted = tmp_path / "t.json", Noted()
    telemetry = Telemetry(tmp_path, open_readers=lambda _: [_Warm()])  # type: ignore[list-item]
    telemetry.start()
    trace = Trace(path, telemetry=telemetry)
    sinks = [ScriptedSink(wants_image=True)]
    turns = threading.Semaphore(5)  # three frames are read while one is worked on: two are dropped
    source = ScriptedSource(
        map(frame, itertools.count()), live=True, on_read=lambda: turns.acquire(timeout=0.1)
    )
    perception = ScriptedPerception(hooks={"decode": lambda: turns.release(3)})
    pipeline = Script(
        source, perception, sinks, slots=2, observers=[noted, trace], frames=50
    ).pipeline()
    pipeline.run()
    gpu = {"gpu_upload": 1, "gpu_infer": 5, "gpu_download": 0.5}
    for number in range(5000, 5020):
        begin_ns = noted.frames[-1][1].at_ns + (number - 4999) * 50 * MS
        trace.rendered(*told(number, begin_ns=begin_ns, overlay=0.5, **gpu))
    trace.close()
    telemetry.close()
    text = path.read_text()
    path.write_text(text[: text.rindex("trace ends")])
    with perfetto(path) as read:
        assert read.rows("select * from stats where severity != 'info' and value > 0") == []
        count = 50 + 20
        of_stages = "count(*), sum(dur) from slice where category = 'stage'"
        summed = {
            name: (n, ns) for name, n, ns in read.rows(f"select name, {of_stages} group by name")
        }
        assert {name: n for name, (n, _) in summed.items()} == dict.fromkeys(SPANS, count)
        for name in ("letterbox", "decode", "overlay", "sinks"):
            spent = sum(times.stage_ns[name] for _, times in noted.frames)
            of_told = {"letterbox": 2, "decode": 3, "overlay": 0.5, "sinks": 1}[name]
            assert summed[name][1] == pytest.approx(spent + 20 * of_told * MS, abs=count)
        steps = read.rows(
            "select a.name, b.name, count(*) from flow join slice a on slice_out = a.id "
            "join slice b on slice_in = b.id where extract_arg(a.arg_set_id, 'args.frame') = "
            "extract_arg(b.arg_set_id, 'args.frame') group by 1, 2"
        )
        assert sorted(steps) == sorted([a, b, count] for a, b in itertools.pairwise(SPANS))
        found = read.rows(  # what its page asks when it is searched for a frame
            "select distinct name from slice join args using (arg_set_id) "
            "where category = 'stage' and string_value glob '*frame 5003*'"
        )
        assert sorted(name for (name,) in found) == sorted(SPANS)
        threads = read.rows(
            "select distinct s.name, t.name from slice s join thread_track k on s.track_id = k.id "
            "join thread t using (utid) where s.category = 'stage'"
        )
        assert ["decode", "infer thread"] in threads
        assert ["infer", "engine"] in threads
        assert len(threads) == len(SPANS)
        of_gpu = read.rows(
            "select name, count(*), avg(dur) from slice where category='gpu' group by 1"
        )
        assert of_gpu == [
            ["GPU", 20, 6.5 * MS],
            ["gpu_download", 20, 0.5 * MS],
            ["gpu_infer", 20, 5 * MS],
            ["gpu_upload", 20, 1 * MS],
        ]
        lost = Counter(outcome for _, outcome in noted.lost_frames)
        moments = dict(
            read.rows("select name, count(*) from slice where category='event' group by 1")
        )
        assert {name: moments.get(name, 0) for name in lost} == lost
        assert lost["dropped_overwritten"] > 0
        assert moments["trace begins"] == 1
        assert "trace ends" not in moments
        warm = read.rows(
            "select t.name, min(value), max(value) from counter c join counter_track t "
            "on c.track_id = t.id group by 1"
        )
        assert warm == [["temperature CPU °C", 41.5, 41.5]]
