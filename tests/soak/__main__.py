"""``python -m tests.soak --minutes 10``: the app under all that happens on a vehicle, as a table.

Exit code 1 where a condition fails; every line of what was wrong goes to stderr.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.soak.judge import as_markdown, judged
from tests.soak.soak import Soak

SHOWN = 40
"""Lines of what was wrong, of each condition."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the order and length of troubles")
    given = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the app would ignore it, too
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, seed=given.seed, say=lambda line: print(line, file=sys.stderr, flush=True))
    diary = soak.play(seconds=60 * given.minutes)
    conditions = judged(diary)
    print(f"Soak of {diary.seconds / 60:.1f} minutes, seed {given.seed}\n")
    print(as_markdown(conditions))
    wrong = [line for condition in conditions for line in condition.wrong[:SHOWN]]
    if wrong:
        print(*wrong, f"The logs are in {folder}", sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
