"""Services of the app in a boot, installed as a user does, with short deadlines."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.systemd.booted import APP, Boot

EDGE = f"{APP}/bin/edge"
STATE = "/var/lib/outrider"
FAULTY = "/srv/faulty.py"
MODEL = "/srv/tiny.onnx"
DEADLINES = {"WatchdogSec": 4, "RestartSec": 1}
"""In s, in the place of those of the units; the rest of a unit is as it is shipped."""
PATIENCE = "open_timeout_s = 1.0\nread_timeout_s = 1.0\nretry_s = 0.5\nhang_s = 600.0\n"
"""Of a source: shorter than the watchdog's, and nothing but the watchdog ends one that hangs."""
SMALL = f'[model]\nfiles = ["{MODEL}"]\nengine = "onnxruntime"\nthreads = 1\n'
"""Costs almost nothing, so that several services run beside each other."""
STREET = '[model]\nengine = "openvino"\nthreads = 1\n'
"""The network that comes with the app, without measuring which engine is the fastest."""

NULL = '[output]\nsinks = ["null"]\n'


@dataclass(frozen=True, slots=True)
class Service:
    """One instance, outrider@NAME.service."""

    boot: Boot
    name: str

    @property
    def unit(self) -> str:
        return f"outrider@{self.name}.service"

    def configure(self, settings: str) -> None:
        """Write its settings."""
        self.boot.write(f"/etc/outrider/{self.name}.toml", settings)

    def install(self, settings: str, *, faults: bool = False) -> None:
        """Install it with ``settings``; it does not start. ``faults``: with those of faulty.py."""
        self.configure(settings)
        program = f"{APP}/bin/python {FAULTY} run /etc/outrider/{self.name}.toml"
        if faults:
            swap = f"[Service]\nExecStart=\nExecStart={program}\n"
            self.boot.write(f"/etc/systemd/system/{self.unit}.d/50-test.conf", swap)
        self.boot.run(EDGE, "service", "install", "--name", self.name, "--no-start")

    def start(self, *, wait: bool = True) -> None:
        """Start it; ``wait``: until it is ready."""
        self.boot.ctl("start", *([] if wait else ["--no-block"]), self.unit)

    def show(self, name: str) -> str:
        """A property of its unit."""
        return self.boot.show(self.unit, name)[name]

    @property
    def state(self) -> str:
        """'activating', 'active', 'reloading', 'deactivating', 'failed' or 'inactive'."""
        return self.show("ActiveState")

    @property
    def restarts(self) -> int:
        """How often systemd started it anew."""
        return int(self.show("NRestarts"))

    def journal(self) -> str:
        """What it and systemd logged about it."""
        return self.boot.journal("-o", "cat", "-u", self.unit)

    def records(self) -> list[dict[str, Any]]:
        """The same with all fields."""
        lines = self.boot.journal("-o", "json", "-u", self.unit).splitlines()
        return [json.loads(line) for line in lines]

    def told(self) -> str:
        """What ``systemctl status`` tells an operator."""
        return self.boot.ctl("status", "--lines=20", "--full", self.unit, check=False).stdout

    def file(self, name: str) -> str:
        """A file in the state folder."""
        return self.boot.run("cat", f"{STATE}/{name}").stdout

    def fault(self, stage: str, what: str = "hold") -> None:
        """Ask a stage for a fault, as faulty.py says."""
        self.boot.run("tee", f"{STATE}/{self.name}.{stage}", text=what)

    def until_held(self, stage: str) -> None:
        """Until a stage stands still."""
        held = f"{STATE}/{self.name}.{stage}.held"
        self.until(
            lambda: self.boot.run("test", "-e", held, check=False).returncode == 0,
            f"its {stage} stands still",
        )

    def go_on(self, stage: str) -> None:
        """End the fault of a stage."""
        self.boot.run(
            "rm", "-f", f"{STATE}/{self.name}.{stage}", f"{STATE}/{self.name}.{stage}.held"
        )

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Ask again until ``true`` says so; the test fails with its status after a while."""
        try:
            self.boot.until(true, f"{self.unit}: {what}", within_s=60)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.told()}") from None

    def until_active(self) -> None:
        """Until it is ready."""
        self.until(lambda: self.state == "active", "it is active")

    def until_started_again(self, times: int = 1) -> None:
        """Until systemd has started it anew so often, whatever becomes of it."""
        self.until(lambda: self.restarts >= times, "it was started again")

    def until_restarted(self, times: int = 1) -> None:
        """Until systemd has started it anew, and it is ready again."""
        self.until(lambda: self.restarts >= times and self.state == "active", "it is back")


def prepare(boot: Boot, model: Path) -> None:
    """The app in a boot, its units with ``DEADLINES``; ``model`` at ``MODEL``, and faulty.py."""
    boot.install_app()
    shorter = [f"s/^{name}=.*/{name}={seconds}/" for name, seconds in DEADLINES.items()]
    boot.run("sed", "-i", ";".join(shorter), f"{APP}/share/outrider/systemd/outrider@.service")
    put(boot, MODEL, model)
    boot.write(FAULTY, Path(__file__).with_name("faulty.py").read_text())


def put(boot: Boot, path: str, file: Path) -> None:
    """A copy of any file inside."""
    text = base64.b64encode(file.read_bytes()).decode()
    boot.run("sh", "-c", f"base64 -d > {path}", text=text)
