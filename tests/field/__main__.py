"""``python -m tests.field faults`` measures how faults of cameras are felt, as a table.

``python -m tests.field service SHARED`` does so for a service under a real systemd, as root;
``python -m tests.field streams`` measures what ``--sink rtsp://`` costs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.field.faults import all_at_once, as_markdown


def main() -> int:
    if sys.argv[1:2] == ["service"] and len(sys.argv) == 3:
        from tests.field import service_times

        for line in service_times.as_markdown(service_times.measured(Path(sys.argv[2]))):
            print(line, flush=True)
        return 0
    if sys.argv[1:] == ["streams"]:
        from tests.field import stream_figures

        for line in stream_figures.as_markdown():
            print(line, flush=True)
        return 0
    if sys.argv[1:] != ["faults"]:
        print("wanted: python -m tests.field faults, streams or service SHARED", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        reports = all_at_once(Path(folder))
    print(as_markdown(reports.values()))
    failures = [line for report in reports.values() for line in report.failures()]
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
