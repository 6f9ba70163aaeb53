"""An upgrade tries what runs before it is current; whatever ends it, the old version runs again.

In a real systemd, with stand-ins for the app that do what a test says.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.booted import ROOT, Boot, booted

UNIT = """
[Unit]
StartLimitIntervalSec=60
StartLimitBurst=2
Wants=outrider-build@{name}.service
After=outrider-build@{name}.service
[Service]
Type=notify
ExecStart=/opt/outrider/current/venv/bin/edge \\
    run /etc/outrider/{name}.toml
WatchdogSec=2
Restart=on-failure
RestartSec=200ms
RestartPreventExitStatus=4
[Install]
WantedBy=multi-user.target
"""
UNITS = {
    "outrider.service": UNIT.format(name="outrider"),
    "outrider@.service": UNIT.format(name="%i"),
    "outrider-build@.service": """
[Service]
Type=oneshot
ExecStart=/opt/outrider/current/venv/bin/edge build %i
""",
}
EDGE = '''#!/usr/bin/python3
"""A stand-in for the app: {does}."""
import os, socket, sys, time
if sys.argv[1] == "service":
    with open("/run/asked", "a") as asked:
        print(*sys.argv, file=asked)
    sys.exit({does!r} == "no units")
if sys.argv[1] == "build":
    with open("/run/built", "a") as built:
        print(*sys.argv, file=built)
    time.sleep(600 * ({does!r} == "builds"))
    sys.exit(0)
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.connect(os.environ["NOTIFY_SOCKET"])
        to.send(text)
if {does!r} == "refuses" or sys.argv[-1].endswith("/{does}.toml"):
    print("the engine is of another JetPack")
    sys.exit(4)
if {does!r} == "stumbles" and sys.argv[-1].endswith("/front.toml"):
    time.sleep(2)
tell(b"READY=1")
if {does!r} in ("dies", "gives up") or {does!r} == "stumbles" and not os.path.exists("/run/once"):
    open("/run/once", "w").close()
    time.sleep(0.3)
    print("the source broke")
    sys.exit(4 if {does!r} == "gives up" else 5)
while True:
    if {does!r} != "hangs":
        tell(b"WATCHDOG=1")
    time.sleep(0.2)
'''
INSTALL = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import command
Path("/run/installer").write_text(str(os.getpid()))
from versions import Plan, Step
version, text = sys.argv[2:4]
given = command.options("a stand-in").parse_args(sys.argv[4:])
def steps(name):
    edge = Path("/opt/outrider", name, "venv/bin/edge")
    def make():
        edge.parent.mkdir(parents=True)
        edge.write_text(text)
        edge.chmod(0o755)
    return [Step("the whole of it", ["make"], action=make)]
sys.exit(command.run("install", given, lambda: Plan(version, steps)))
"""


def words(version: str, does: str, *more: str) -> list[str]:
    script = [sys.executable, "-B", "-c", INSTALL, str(ROOT / "systemd")]
    return [*script, version, EDGE.format(does=does), *more]


def runs(boot: Boot, unit: str = "outrider") -> str:
    """The version that a service runs, '' where it is not active."""
    shown = boot.show(unit, "ActiveState", "MainPID")
    if shown["ActiveState"] != "active":
        return ""
    line = boot.run("cat", f"/proc/{shown['MainPID']}/cmdline", check=False).stdout
    words = [word for word in line.split("\0") if word.startswith("/opt/")]
    return words[0].split("/")[3] if words else ""  # systemd has not yet become the service


def left_over(boot: Boot) -> str:
    """What of trials lies below /run."""
    return boot.run("find", "/run/systemd/system", "-name", "*trial*").stdout


@pytest.fixture
def boot(shared: Path) -> Iterator[Boot]:
    """A machine whose two services run 0.1.0, which is current by its real name."""
    with booted(shared, UNITS) as made:
        made.run(*words("0.1.0", "good"))
        made.ctl("start", "outrider", "outrider@front")
        made.run("truncate", "-s0", "/run/asked", "/run/built")
        yield made


def test_services_run_a_new_version_before_it_is_current_and_stay_with_it(boot: Boot) -> None:
    made = boot.run(*words("0.2.0", "good", "--trial-s", "1"))
    assert "# outrider.service outrider@front.service on trial with 0.2.0" in made.stdout
    assert boot.run("readlink", "/opt/outrider/current").stdout == "0.2.0\n"
    assert left_over(boot) == ""
    for unit in ("outrider", "outrider@front"):
        line = boot.run("cat", f"/proc/{boot.show(unit, 'MainPID')['MainPID']}/cmdline").stdout
        assert "/opt/outrider/0.2.0/venv/bin/edge" in line  # not through the link: it was tried
        start = boot.show(unit, "ExecStart")["ExecStart"]
        assert "/opt/outrider/current/venv/bin/edge" in start
    built = boot.run("cat", "/run/built").stdout.split()
    assert set(built[::3]) == {"/opt/outrider/0.2.0/venv/bin/edge"}
    assert set(built[2::3]) == {"outrider", "front"}
    assert "/current/" in boot.show("outrider-build@front", "ExecStart")["ExecStart"]
    asked = boot.run("cat", "/run/asked").stdout
    assert asked == "/opt/outrider/current/venv/bin/edge service refresh\n"


@pytest.mark.parametrize(
    ("does", "said", "line"),
    [
        ("refuses", "did not become ready: Result=exit-code", "another JetPack"),
        ("dies", "was ready and failed after", "the source broke"),
        ("gives up", "was ready and failed after", "the source broke"),
        ("hangs", "was ready and failed after", "Watchdog timeout"),
    ],
)
def test_a_version_that_fails_on_trial_gives_way_to_the_one_before(
    boot: Boot, does: str, said: str, line: str
) -> None:
    made = boot.run(*words("0.2.0", does, "--trial-s", "20"), check=False)
    assert made.returncode == 1, made.stdout
    assert re.search(rf"install: outrider(@front)?\.service {said}", made.stderr)
    assert line in made.stderr
    assert "outrider.service outrider@front.service: back on 0.1.0" in made.stderr
    assert "install: 0.1.0 stays current; what there is of /opt/outrider/0.2.0" in made.stderr
    assert (runs(boot), runs(boot, "outrider@front")) == ("current", "current")
    assert boot.run("readlink", "/opt/outrider/current").stdout == "0.1.0\n"
    assert left_over(boot) == ""
    assert boot.run("cat", "/run/asked").stdout == ""
    boot.run(*words("0.2.0", "good", "--trial-s", "0"))  # nothing is in the way of the next


@pytest.mark.parametrize("others", [False, True])
def test_a_version_that_failed_once_and_runs_again_is_not_taken(boot: Boot, others: bool) -> None:
    """Started again in less time than it takes to look twice, or while others still start."""
    if not others:
        boot.ctl("stop", "outrider@front")
    made = boot.run(*words("0.2.0", "stumbles", "--trial-s", "20"), check=False)
    assert "outrider.service was ready and failed after" in made.stderr
    assert "NRestarts=1" in made.stderr
    assert "ActiveState=active" in made.stderr
    assert runs(boot) == "current"


def test_one_camera_of_two_that_fails_takes_both_back(boot: Boot) -> None:
    made = boot.run(*words("0.2.0", "front", "--trial-s", "20"), check=False)
    assert "install: outrider@front.service did not become ready" in made.stderr
    assert (runs(boot), runs(boot, "outrider@front")) == ("current", "current")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_an_installer_that_is_ended_on_trial_leaves_the_old_version_running(
    boot: Boot, number: signal.Signals
) -> None:
    command = ["bash", str(boot.script), "run", boot.pid, *words("0.2.0", "good")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as installer:
        boot.until(lambda: runs(boot) == "0.2.0", "the service runs the new version")
        boot.run("kill", f"-{number.value}", boot.run("cat", "/run/installer").stdout)
        _, said = installer.communicate(timeout=60)  # the way back holds the pipe, too
    if number != signal.SIGKILL:
        assert installer.returncode == 130
        assert said.endswith(b"install: interrupted; 0.1.0 is current\n")
    assert (runs(boot), runs(boot, "outrider@front")) == ("current", "current")
    assert boot.run("readlink", "/opt/outrider/current").stdout == "0.1.0\n"
    assert left_over(boot) == ""


def test_a_trial_that_is_ended_ends_what_it_builds(boot: Boot) -> None:
    command = ["bash", str(boot.script), "run", boot.pid, *words("0.2.0", "builds")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as installer:
        boot.until(lambda: "/0.2.0/" in boot.run("cat", "/run/built").stdout, "it builds")
        boot.run("kill", boot.run("cat", "/run/installer").stdout)
        installer.communicate(timeout=60)
    assert (runs(boot), runs(boot, "outrider@front")) == ("current", "current")
    assert "/current/" in boot.run("cat", "/run/built").stdout.splitlines()[-1]
    assert left_over(boot) == ""


def test_rolling_back_starts_what_runs_or_failed_with_the_version_before(boot: Boot) -> None:
    boot.run(*words("0.2.0", "good", "--trial-s", "0"))

    def given_up() -> bool:
        boot.ctl("kill", "--kill-who=main", "--signal=KILL", "outrider@front", check=False)
        return boot.show("outrider@front", "ActiveState") == {"ActiveState": "failed"}

    boot.until(given_up, "its start limit is used up")
    made = boot.run(*words("0.2.0", "good", "--rollback"))
    assert "current is 0.1.0 again" in made.stdout
    assert "outrider.service runs on it\noutrider@front.service runs on it" in made.stdout
    for unit in ("outrider", "outrider@front"):
        pid = boot.show(unit, "MainPID")["MainPID"]
        assert "/current/" in boot.run("cat", f"/proc/{pid}/cmdline").stdout


def test_a_version_that_cannot_write_its_units_is_current_and_says_so(boot: Boot) -> None:
    made = boot.run(*words("0.2.0", "no units", "--trial-s", "0"), check=False)
    assert made.returncode == 1
    assert "exit code 1 of: /opt/outrider/current/venv/bin/edge service refresh" in made.stderr
    assert "install: 0.2.0 is current nevertheless" in made.stderr


def test_a_service_that_does_not_start_by_the_link_is_left_alone(boot: Boot) -> None:
    boot.write(
        "/etc/systemd/system/outrider.service.d/own.conf",
        "[Service]\nExecStart=\nExecStart=/opt/outrider/0.1.0/venv/bin/edge run own.toml\n",
    )
    boot.ctl("daemon-reload")
    boot.ctl("restart", "outrider")
    before = boot.show("outrider", "MainPID")
    made = boot.run(*words("0.2.0", "good", "--trial-s", "0"))
    assert "outrider.service starts nothing of /opt/outrider/current" in made.stdout
    assert boot.show("outrider", "MainPID") == before
    assert runs(boot, "outrider@front") == "0.2.0"
