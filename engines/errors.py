"""The tree of errors that Outrider raises on purpose; it holds no messages and catches nothing.

A message says what was wrong, what was got, what was wanted, and the next step. Foreign exceptions
are mapped where they arise, with ``raise ... from exc``.

    OutriderError
    ├── SettingsError    settings or usage                      exit 2
    ├── SourceError      camera, file or URL                    exit 3
    │   └── SourceHungError  a call of it never came back       exit 5
    ├── ModelError       model file or its spec                 exit 4
    ├── EngineError      an engine that cannot run the model    exit 4
    │   ├── EngineMismatch   built for another machine or file  exit 4
    │   └── DeviceError      device lost or out of its memory   exit 6
    ├── SinkError        an output that cannot be written       exit 5
    └── ExportError      a proof or an export failed            exit 4
        └── ExportNotNow   the machine is busy or full          exit 4
"""

from __future__ import annotations

from typing import ClassVar


class OutriderError(Exception):
    """Root of the tree: an error whose message is meant for the person at the terminal."""

    exit_code: ClassVar[int] = 5


class SettingsError(OutriderError):
    """A setting or an argument is wrong."""

    exit_code = 2


class SourceError(OutriderError):
    """A source of frames cannot be opened or broke while it was read."""

    exit_code = 3


class SourceHungError(SourceError):
    """A call into a driver or a library does not come back; only a new process can go on."""

    exit_code = 5


class ModelError(OutriderError):
    """A model file cannot be read, has no spec, or contradicts its spec."""

    exit_code = 4


class EngineError(OutriderError):
    """An engine is not available here or refuses the model."""

    exit_code = 4


class EngineMismatch(EngineError):
    """A built engine belongs to another machine, another model or other build options."""


class DeviceError(EngineError):
    """The device was lost or ran out of its memory; a restart may help."""

    exit_code = 6


class SinkError(OutriderError):
    """An output cannot be written (a full disk, a closed pipe)."""

    exit_code = 5


class ExportError(OutriderError):
    """An export, an adoption or a proof failed."""

    exit_code = 4


class ExportNotNow(ExportError):
    """The file is not at fault: its place is taken, full or not writable, or memory is short."""
