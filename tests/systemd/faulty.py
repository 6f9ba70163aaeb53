"""``edge run`` in a service of the tests, with stages that stand still or fail as files say.

The files lie in the state folder and are named INSTANCE.STAGE. ``hold`` in one: the stage that
comes upon it renames it to INSTANCE.STAGE.held and goes on when that is gone. A number: the stage
raises an error of that exit code, each time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.run.signals import hold_signals

STATE = Path("/var/lib/outrider")
POLL_S = 0.02


def at(stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """``method``, as a stage that looks for its file first."""
    from engines.errors import DeviceError, SinkError

    wanted = STATE / f"{Path(sys.argv[-1]).stem}.{stage}"
    held = wanted.with_name(f"{wanted.name}.held")
    errors = {"5": SinkError, "6": DeviceError}

    def stands_still_or_goes_on(*words: Any, **more: Any) -> Any:
        if wanted.exists():
            asked = wanted.read_text()
            if asked in errors:
                raise errors[asked](f"the {stage} of this test fails with exit code {asked}")
            os.rename(wanted, held)
            while held.exists():
                time.sleep(POLL_S)
        return method(*words, **more)

    return stands_still_or_goes_on


def main() -> None:
    hold_signals()
    from edge import cli
    from edge.sinks.null import NullSink
    from edge.sources.video.video import VideoSource
    from edge.vision.perception import Perception

    stages = (
        ("model", Perception, "__init__"),
        ("source", VideoSource, "_read"),
        ("engine", Perception, "wait"),
        ("sink", NullSink, "write"),
    )
    for stage, owner, name in stages:
        setattr(owner, name, at(stage, getattr(owner, name)))
    cli.main()


if __name__ == "__main__":
    main()
