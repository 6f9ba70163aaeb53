"""``edge run``: turns its arguments into settings and starts the app; it decides nothing else.

Its options are made of the fields of the settings that they override.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from edge.service.notify import Notifier
from edge.settings.load import load_settings
from edge.settings.options import Option, mark_of, sections_of
from edge.settings.settings import Settings
from engines.errors import SettingsError


def options() -> list[click.Parameter]:
    """The option of every field that has one; its name is the key with "__" for the dot."""
    made = []
    for section, fields in sections_of(Settings).items():
        for key, field in fields.items():
            if option := mark_of(field, Option):
                words = [option.flag, f"{section}__{key}"]
                how = _parsing(option, _without_none(field.annotation))
                made.append((option.place, click.Option(words, help=option.help, **how)))
    return [parameter for _, parameter in sorted(made, key=lambda one: one[0])]


def _without_none(annotation: Any) -> Any:
    """``int`` of ``Annotated[int, ...] | None``."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = get_args(annotation)[0]
    return annotation


def _parsing(option: Option, kind: Any) -> dict[str, Any]:
    """What click has to know to read a value; whether it is a valid one the settings say."""
    if kind is bool:
        return {"is_flag": True, "default": None}
    if get_origin(kind) is Literal:
        return {"metavar": "|".join(get_args(kind))}
    if option.commas:
        return {
            "metavar": option.metavar,
            "type": lambda s: [part.strip() for part in s.split(",")],
        }
    if get_origin(kind) is tuple:
        return {"metavar": option.metavar, "multiple": True}
    return {"metavar": option.metavar, "type": kind if kind in (int, float) else str}


def overrides_of(given: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted key of what click has read; those not given are None."""
    lists = {name: list(v) or None if isinstance(v, tuple) else v for name, v in given.items()}
    return {name.replace("__", "."): value for name, value in lists.items()}


@click.command(params=options())
@click.argument("settings", required=False, type=click.Path(path_type=Path))
@click.pass_context
def run(context: click.Context, /, settings: Path | None, **given: Any) -> None:
    """Run the perception app.

    SETTINGS is a TOML file; options go before what it says. Without any, the network that comes
    with the project looks at a synthetic street, in a window where there is a display. q or Esc in
    the window, Ctrl-C and SIGTERM end the run in order; in a service SIGHUP reads SETTINGS again.
    """
    from edge.logs import set_up_logs

    overrides = overrides_of(given)
    # The settings may ask for more.
    set_up_logs(verbose=bool(overrides["log.verbose"]), quiet=bool(overrides["log.quiet"]))
    try:
        loaded = load_settings(settings, overrides)
    except SettingsError as exc:
        Notifier.from_environ(os.environ).status(f"ended: {exc}")
        raise

    from edge.run.app import run_app
    from edge.sinks import sink_opener

    set_up_logs(verbose=loaded.log.verbose, quiet=loaded.log.quiet)
    for text in loaded.output.sinks:
        sink_opener(text)  # a mistake here shows before a model is loaded
    context.exit(run_app(loaded, again=lambda: load_settings(settings, overrides)))
