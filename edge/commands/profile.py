"""``edge profile``: ``edge run`` with a trace and a report of it; it decides nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge.commands.run import options, overrides_of
from edge.settings.load import load_settings

_OUTPUT = click.Option(
    ["-o", "--output"],
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the profile: a new one, an empty one or that of an older profile.",
)


@click.command(params=[_OUTPUT, *options()])
@click.argument("settings", required=False, type=click.Path(path_type=Path))
@click.pass_context
def profile(context: click.Context, /, settings: Path | None, output: Path, **given: Any) -> None:
    """Run the perception app and report where the time goes.

    All but -o is as in edge run, and so is what is measured; where no sink is asked for, there is
    none. DIR then has report.html for a browser, trace.json for https://ui.perfetto.dev and
    metrics.json, also of a run that failed or was interrupted.
    """
    from edge.logs import set_up_logs

    overrides = overrides_of(given)
    set_up_logs(verbose=bool(overrides["log.verbose"]), quiet=bool(overrides["log.quiet"]))
    loaded = load_settings(settings, overrides, usual_sink="null")

    from edge.profile.profile import run_profile
    from edge.sinks import sink_opener

    set_up_logs(verbose=loaded.log.verbose, quiet=loaded.log.quiet)
    for text in loaded.output.sinks:
        sink_opener(text)  # a mistake here shows before a model is loaded

    def again() -> Any:
        return load_settings(settings, overrides, usual_sink="null")

    context.exit(run_profile(loaded, output, again=again, settings_file=settings))
