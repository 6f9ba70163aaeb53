"""``edge service`` under a real systemd: what it installs is taken, closed, and goes again."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.booted import APP, Boot, booted

EDGE = f"{APP}/bin/edge"
HALF = """
[source]
policy = "drop"
[output]
sinks = ["null"]
"""
CLEAR = """
systemctl stop 'outrider*'
systemctl reset-failed 'outrider*'
userdel outrider 2>/dev/null
cd /etc && rm -rf outrider nv_tegra_release sysusers.d/outrider.conf tmpfiles.d/outrider.conf
rm -rf systemd/system/outrider* systemd/system/*/outrider* /var/lib/outrider /var/cache/outrider
systemctl daemon-reload
"""
UNDER = ("etc/systemd/system", "etc/sysusers.d", "etc/tmpfiles.d", "etc/outrider")


@pytest.fixture(scope="module")
def one_boot(shared: Path) -> Iterator[Boot]:
    with booted(shared) as made:
        made.install_app()
        yield made


@pytest.fixture
def boot(one_boot: Boot) -> Boot:
    """One boot for all of the module; what a test before installed is gone."""
    one_boot.run("sh", "-c", CLEAR)
    return one_boot


def files(boot: Boot) -> set[str]:
    """What lies in the folders that an installation writes to."""
    found = boot.run("find", *(f"/{top}" for top in UNDER), "-not", "-type", "d", check=False)
    return set(found.stdout.split())


def test_the_first_install_leaves_an_example_to_edit_and_starts_nothing(boot: Boot) -> None:
    before = files(boot)
    done = boot.run(EDGE, "service", "install", "--name", "cam")
    assert "Now edit /etc/outrider/cam.toml, then run this again" in done.stdout
    assert files(boot) - before == {
        "/etc/systemd/system/outrider.service",
        "/etc/systemd/system/outrider@.service",
        "/etc/systemd/system/outrider-build@.service",
        "/etc/systemd/system/outrider@cam.service.d/10-settings.conf",
        "/etc/sysusers.d/outrider.conf",
        "/etc/tmpfiles.d/outrider.conf",
        "/etc/outrider/cam.toml",
        "/etc/outrider/outrider.env",
    }
    assert boot.show("outrider@cam", "ActiveState", "UnitFileState") == {
        "ActiveState": "inactive",
        "UnitFileState": "disabled",
    }
    told = boot.run("stat", "-c", "%U:%G %a", "/etc/outrider/cam.toml", "/var/lib/outrider")
    assert told.stdout.splitlines() == ["root:outrider 640", "outrider:outrider 750"]

    boot.run(EDGE, "service", "uninstall", "--name", "cam")
    assert files(boot) - before == {"/etc/outrider/cam.toml", "/etc/outrider/outrider.env"}
    boot.run("test", "-d", "/var/lib/outrider")


def test_a_dry_run_tells_all_of_it_and_touches_nothing(boot: Boot) -> None:
    boot.write("/etc/outrider/cam.toml", '[source]\nuri = "rtsp://cam/1"\n')
    before = files(boot)
    told = boot.run(EDGE, "service", "install", "--name", "cam", "--dry-run").stdout
    assert files(boot) == before
    assert "write /etc/systemd/system/outrider@.service, a copy of /opt/outrider/" in told
    assert "\n    PrivateNetwork=no\n" in told
    assert told.rstrip().endswith("systemctl restart outrider@cam.service")
    assert "not yet" not in told


def test_the_last_instance_takes_the_units_with_it_and_purge_the_rest(boot: Boot) -> None:
    before = files(boot)
    for name in ("front", "rear"):
        boot.write(f"/etc/outrider/{name}.toml", HALF)
        boot.run(EDGE, "service", "install", "--name", name, "--no-start")
        assert boot.show(f"outrider@{name}", "UnitFileState") == {"UnitFileState": "enabled"}
    boot.write("/etc/systemd/system/outrider@front.service.d/override.conf", "[Service]\nNice=5\n")
    boot.run(EDGE, "service", "uninstall", "--name", "front")
    left = files(boot) - before
    assert "/etc/systemd/system/outrider@.service" in left
    assert "/etc/systemd/system/outrider@front.service.d/override.conf" in left  # the operator's
    boot.run(EDGE, "service", "uninstall", "--name", "rear", "--purge")
    assert files(boot) - before == {
        "/etc/outrider/front.toml",
        "/etc/outrider/outrider.env",
        "/etc/systemd/system/outrider@front.service.d/override.conf",
    }
    boot.run("id", "outrider")
    boot.run(EDGE, "service", "install", "--name", "front", "--no-start")
    boot.run(EDGE, "service", "uninstall", "--name", "front", "--purge")
    assert files(boot) - before == {"/etc/systemd/system/outrider@front.service.d/override.conf"}
    boot.run("test", "!", "-e", "/etc/outrider")
    assert boot.run("id", "outrider", check=False).returncode == 1


def test_a_user_that_a_person_made_outlives_a_purge_and_a_build_may_fail(boot: Boot) -> None:
    boot.run("useradd", "--home-dir", "/srv", "--no-create-home", "outrider")
    boot.write("/etc/outrider/cam.toml", HALF)
    boot.run(EDGE, "service", "install", "--name", "cam", "--no-start")
    boot.write("/etc/outrider/cam.toml", HALF + "[source2]\n")
    boot.ctl("start", "outrider-build@cam", check=False)
    told = boot.run(EDGE, "service", "status", check=False).stdout
    assert "engines    settings or usage refused (2); the app starts all the same" in told
    boot.run(EDGE, "service", "uninstall", "--name", "cam", "--purge")
    boot.run("id", "outrider")


def test_uninstalling_what_is_not_there_is_refused(boot: Boot) -> None:
    again = boot.run(EDGE, "service", "uninstall", "--name", "rear", check=False)
    assert again.returncode == 2
    assert "edge: outrider@rear.service: is not installed here; no instance is" in again.stderr


def test_the_units_are_whole_and_almost_nothing_is_open(boot: Boot) -> None:
    pages = {"cam": "null", "near": "web", "far": "web:0.0.0.0:8090"}
    boot.write("/etc/outrider/credentials/page", "0123456789abcdef0123456789abcdef\n")
    boot.run("chmod", "600", "/etc/outrider/credentials/page")
    for name, sink in pages.items():
        token = '[web]\ntoken_file = "${CREDENTIALS_DIRECTORY}/page"\n'
        boot.write(f"/etc/outrider/{name}.toml", HALF.replace("null", sink) + token)
        boot.run(EDGE, "service", "install", "--name", name, "--no-start")
    # A start from the shipped folder is verified as it was installed, drop-ins and all.
    units = ["outrider.service", "outrider-build@cam.service"]
    units += [f"outrider@{name}.service" for name in pages]
    verified = boot.run("systemd-analyze", "verify", "--recursive-errors=yes", *units, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    for unit in units:
        told = boot.run("systemd-analyze", "security", "--no-pager", unit).stdout
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert exposure is not None, told
        print(f"{unit}: exposure {exposure[1]}")
        assert float(exposure[1]) <= 2.0


@pytest.mark.parametrize("conf", ["jetson", "nvidia"])
def test_the_drop_ins_for_gpus_are_whole(boot: Boot, conf: str) -> None:
    boot.write("/etc/outrider/cam.toml", "[source]\nuri = 'csi:0'\n")
    if conf == "jetson":
        boot.write("/etc/nv_tegra_release", "# R36 (release), REVISION: 4.7\n")
    boot.run(EDGE, "service", "install", "--name", "cam", "--no-start")
    if conf == "nvidia":
        for unit in ("outrider@", "outrider-build@"):
            source, folder = (
                f"{APP}/share/outrider/systemd",
                f"/etc/systemd/system/{unit}.service.d",
            )
            boot.run(
                "sh", "-c", f"mkdir {folder} && cp {source}/nvidia.conf {folder}/20-nvidia.conf"
            )
        boot.ctl("daemon-reload")
    for unit in ("outrider@cam.service", "outrider-build@cam.service"):
        verified = boot.run("systemd-analyze", "verify", unit, check=False)
        assert (verified.returncode, verified.stderr) == (0, "")
        opened = boot.show(unit, "PrivateDevices", "DeviceAllow", "After")
        assert opened["PrivateDevices"] == "no"
        assert "modprobe@nvidia_uvm.service" in opened["After"]


def test_a_real_inference_runs_in_the_sandbox(boot: Boot) -> None:
    boot.write("/etc/outrider/cam.toml", HALF + 'metrics = "/var/lib/outrider/cam.json"\n')
    done = boot.run(EDGE, "service", "install", "--name", "cam")
    assert done.stdout.endswith("outrider@cam.service runs, and starts at every boot.\n")
    assert boot.show("outrider@cam", "ActiveState", "SubState", "User", "NRestarts") == {
        "ActiveState": "active",
        "SubState": "running",
        "User": "outrider",
        "NRestarts": "0",
    }
    told = boot.run(EDGE, "service", "status").stdout
    assert "outrider@cam.service: active since " in told
    assert "\n  says       " in told
    assert "sandbox    fits the settings" in told
    assert "no engine is needed: no CUDA device opens here" in boot.journal(
        "-u", "outrider-build@cam"
    )
    boot.ctl("stop", "outrider@cam")
    log = boot.journal("-u", "outrider@cam")
    assert boot.show("outrider@cam", "Result")["Result"] == "success", log
    report = json.loads(boot.run("cat", "/var/lib/outrider/cam.json").stdout)
    assert report["frames"]["rendered"] > 0
    assert report["detections_total"] > 0
    assert boot.run("stat", "-c", "%U", "/var/lib/outrider/cam.json").stdout == "outrider\n"


READ = "import av, sys; print(sum(1 for _ in av.open(sys.argv[1]).decode(video=0)))"


@pytest.mark.slow
def test_one_instance_that_dies_comes_back_and_the_other_does_not_notice(boot: Boot) -> None:
    film = "/var/lib/outrider/front.mp4"
    boot.write(
        "/etc/outrider/front.toml", f'[source]\npolicy = "drop"\n[output]\nsinks = ["{film}"]\n'
    )
    # A camera that is not there: READY all the same.
    absent = '[source]\nuri = "rtsp://me@127.0.0.1:9/1"\n'
    absent += 'password_file = "${CREDENTIALS_DIRECTORY}/gate"\n'
    boot.write("/etc/outrider/rear.toml", absent + '[output]\nsinks = ["null"]\n')
    boot.write("/etc/outrider/credentials/gate", "swordfish\n")
    boot.run("chmod", "600", "/etc/outrider/credentials/gate")
    units = ("outrider@front", "outrider@rear")
    for unit in units:
        boot.run(EDGE, "service", "install", "--name", unit.partition("@")[2])
    front, rear = (boot.show(unit, "MainPID")["MainPID"] for unit in units)
    for pid in (front, rear):
        assert "swordfish" not in boot.run("cat", f"/proc/{pid}/environ").stdout

    boot.run("kill", "-9", front)
    back = {"ActiveState": "active", "NRestarts": "1", "Result": "success"}
    boot.until(lambda: boot.show(units[0], *back) == back, "the killed one is back")
    assert boot.show(units[1], "MainPID", "NRestarts") == {"MainPID": rear, "NRestarts": "0"}
    # Engines are looked at before every start, after a failure, too.
    assert boot.journal("-u", "outrider-build@front").count("no engine is needed") == 2

    boot.ctl("stop", *units)
    for unit in units:
        assert boot.show(unit, "Result", "ExecMainStatus") == {
            "Result": "success",
            "ExecMainStatus": "0",
        }
    assert int(boot.run(f"{APP}/bin/python", "-c", READ, film).stdout) > 0
    assert "swordfish" not in boot.journal()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('[sauce]\nuri = "x"\n', "/etc/outrider/cam.toml"),
        ('[model]\nfiles = ["/home/me/net.onnx"]\n', "below /home, which a service does not see"),
        ('[output]\nsinks = ["/etc/outrider/a.mp4"]\n', "where a service does not write"),
    ],
)
def test_settings_that_no_service_can_run_are_refused_before_anything_is_written(
    boot: Boot, settings: str, words: str
) -> None:
    boot.write("/etc/outrider/cam.toml", settings)
    before = files(boot)
    refused = boot.run(EDGE, "service", "install", "--name", "cam", check=False)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert files(boot) == before


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("exec setpriv --reuid=65534 --clear-groups", "units are root's to change; sudo /opt/"),
        ("mount -o bind,ro /etc/systemd/system /etc/systemd/system; exec",
         "/etc/systemd/system cannot be written here, so nothing was begun"),
        ("mount -t tmpfs none /run/systemd; exec", "no systemd runs here, and the service is one"),
        ("PATH=/srv/none exec", "no systemd runs here, and the service is one"),
        ("PATH=/srv/245:$PATH exec", "systemd is 245 here, wanted 249 or later (Ubuntu 22.04"),
        ("cp -r /opt/outrider/0.1.0 /home/mine; set -- /home/mine/venv/bin/python "
         "/home/mine/venv/bin/edge service install; exec",
         "/home/mine/venv: this Outrider or its Python is below /home, which a service does not"),
    ],
)  # fmt: skip
def test_a_machine_that_cannot_have_the_service_is_told_why_and_left_as_it_is(
    boot: Boot, before: str, words: str
) -> None:
    fake_systemctl(boot, 245)
    shell = ["unshare", "--mount", "sh", "-c", f'{before} "$@"', "sh"]
    refused = boot.run(*shell, EDGE, "service", "install", check=False)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not any("outrider" in file for file in files(boot))
    told = boot.run(*shell, EDGE, "service", "install", "--dry-run", check=False)
    if "cannot be written" not in words and "/home" not in words:
        assert told.returncode == 0
        assert told.stdout.startswith(f"# not yet: {words}")


def test_an_image_gets_the_files_and_this_machine_nothing(boot: Boot) -> None:
    boot.write("/srv/image/etc/outrider/cam.toml", HALF)
    boot.run("cp", "/etc/passwd", "/etc/group", "/srv/image/etc")
    boot.run(EDGE, "service", "install", "--name", "cam", "--root", "/srv/image")
    assert not any("outrider" in file for file in files(boot))
    link = "/srv/image/etc/systemd/system/multi-user.target.wants/outrider@cam.service"
    told = boot.run("readlink", link).stdout
    assert told.strip() == "/etc/systemd/system/outrider@.service"
    assert "outrider:" in boot.run("cat", "/srv/image/etc/passwd").stdout
    boot.run("test", "-d", "/srv/image/var/lib/outrider/built")
    boot.run(EDGE, "service", "uninstall", "--name", "cam", "--root", "/srv/image")
    left = boot.run("find", "/srv/image/etc", "-name", "*outrider*").stdout.split()
    assert sorted(left) == ["/srv/image/etc/outrider", "/srv/image/etc/outrider/outrider.env"]


@pytest.mark.parametrize(("version", "steps"), [(253, False), (254, True)])
def test_growing_delays_are_only_for_a_systemd_that_knows_them(
    boot: Boot, version: int, steps: bool
) -> None:
    fake_systemctl(boot, version)
    path = f"PATH=/srv/{version}:/usr/bin:/bin"
    told = boot.run("env", path, EDGE, "service", "install", "--dry-run").stdout
    assert ("RestartSteps=" in told) == steps
    assert ("outrider@.service.d/30-restart.conf" in told) == steps


def fake_systemctl(boot: Boot, version: int) -> None:
    """A systemctl of another release, for what asks it for that."""
    boot.write(f"/srv/{version}/systemctl", f"#!/bin/sh\necho 'systemd {version} ({version}-1)'\n")
    boot.run("chmod", "755", f"/srv/{version}/systemctl")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "userdel outrider",
            "its user does not exist (217): sudo /opt/outrider/0.1.0/venv/bin/edge",
        ),
        ("rm /etc/outrider/credentials/gate", "a credential cannot be read (243): is it in"),
        ("rmdir /srv/films", "its sandbox cannot be made (226): is each folder of recordings"),
        ("rm /opt/outrider/current", "the app is not where its unit says (203)"),
    ],
)
def test_the_status_says_what_systemd_lacks_before_the_app_begins(
    boot: Boot, fault: str, words: str
) -> None:
    text = '[source]\nuri = "rtsp://me@cam/1"\npassword_file = "${CREDENTIALS_DIRECTORY}/gate"\n'
    boot.run("sh", "-c", "mkdir -p -m 777 /srv/films && ln -sfn 0.1.0 /opt/outrider/current")
    boot.write("/etc/outrider/cam.toml", text + '[output]\nsinks = ["/srv/films/a.mp4"]\n')
    missing = boot.run(EDGE, "service", "install", "--name", "cam", check=False)
    assert missing.returncode == 2
    assert "is /etc/outrider/credentials; a file there is root's alone" in missing.stderr
    boot.write("/etc/outrider/credentials/gate", "swordfish\n")
    readable = boot.run(EDGE, "service", "install", "--name", "cam", check=False)
    assert readable.returncode == 2
    assert "can be read by others (mode 0644)" in readable.stderr
    boot.run("chmod", "600", "/etc/outrider/credentials/gate")
    boot.run(EDGE, "service", "install", "--name", "cam", "--no-start")
    boot.run("sh", "-c", fault)
    boot.ctl("start", "outrider@cam", check=False)
    told = boot.run("/opt/outrider/0.1.0/venv/bin/edge", "service", "status", check=False)
    assert told.returncode == 5
    assert words in told.stdout
    boot.run("ln", "-sfn", "0.1.0", "/opt/outrider/current")
    assert "swordfish" not in boot.journal() + told.stdout


def test_the_status_says_in_words_how_the_last_process_ended(boot: Boot) -> None:
    boot.write("/etc/outrider/cam.toml", HALF)
    boot.run(EDGE, "service", "install", "--name", "cam", "--no-start")
    boot.write("/etc/outrider/cam.toml", HALF + "[source2]\n")
    boot.ctl("start", "outrider@cam", check=False)
    boot.until(
        lambda: boot.show("outrider@cam", "ActiveState")["ActiveState"] == "failed", "it failed"
    )
    told = boot.run(EDGE, "service", "status", check=False)
    assert told.returncode == 5
    assert "outrider@cam.service: failed since " in told.stdout
    assert "last end   settings or usage refused (2): it is not started again" in told.stdout
    assert "at boot    starts" in told.stdout
    assert "version    0.1.0" in told.stdout
    assert (
        "sandbox    unknown, the settings would be refused: /etc/outrider/cam.toml" in told.stdout
    )
    assert boot.show("outrider@cam", "NRestarts") == {"NRestarts": "0"}
    assert "source2" in boot.run(EDGE, "service", "logs", "--name", "cam").stdout


TRIES = """
import os, socket, subprocess, sys

def attempt(what, action):
    try:
        action()
    except OSError as exc:
        print(what, "denied", exc, flush=True)
    else:
        print(what, "allowed", flush=True)

def root():
    if subprocess.run(["/srv/id", "-u"], capture_output=True, text=True).stdout != "0\\n":
        raise PermissionError(1, "")

mine = sys.argv[2]
with open(mine, "w") as file:
    file.write("x")
attempt("folder", lambda: open("/srv/open/x", "w").close())
attempt("device", lambda: os.close(os.open("/srv/device", os.O_WRONLY)))
attempt("privilege", root)
attempt("setuid", lambda: os.chmod(mine, 0o4755))
attempt("network", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close())
attempt("home", lambda: os.listdir("/home/open"))
"""
"""What the app's user may do on the machine, and must not in the sandbox."""
ALL = ["folder", "device", "privilege", "setuid", "network", "home"]


def test_the_sandbox_denies_what_the_user_itself_could_do(boot: Boot) -> None:
    boot.write("/srv/tries.py", TRIES)
    boot.run("sh", "-c", "mkdir -m 777 /srv/open /home/open && cp /usr/bin/id /srv/id && "
             "chmod 4755 /srv/id && mknod -m 666 /srv/device c 1 11")  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        assert allowed_in_the_unit(boot, port, HALF) == []
        stream = '[source]\nuri = "rtsp://127.0.0.1/1"\n' + HALF.replace("[source]\n", "")
        assert allowed_in_the_unit(boot, port, stream.replace('policy = "drop"\n', "")) == [
            "network"
        ]
        films = '[output]\nsinks = ["/srv/open/a.mp4"]\n'
        assert allowed_in_the_unit(boot, port, films) == ["folder"]
        user = ["setpriv", "--reuid=outrider", "--regid=outrider", "--clear-groups"]
        told = boot.run(*user, f"{APP}/bin/python", "/srv/tries.py", port, "/srv/open/mine")
        assert [line.split()[0] for line in told.stdout.splitlines()] == ALL
        assert "denied" not in told.stdout  # so each of the denials above is the sandbox's


def allowed_in_the_unit(boot: Boot, port: str, settings: str) -> list[str]:
    """What is allowed to a program in the app's place, in the unit that these settings make."""
    boot.write("/etc/outrider/cam.toml", settings)
    program = f"{APP}/bin/python /srv/tries.py {port} /var/lib/outrider/mine"
    swap = f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={program}\n"
    boot.write("/etc/systemd/system/outrider@.service.d/50-test.conf", swap)
    boot.run(EDGE, "service", "install", "--name", "cam", "--no-start")
    boot.ctl("start", "outrider@cam")
    told = boot.show("outrider@cam", "InvocationID")["InvocationID"]
    words = [f"_SYSTEMD_INVOCATION_ID={told}", "-o", "cat"]
    boot.until(lambda: "home " in boot.journal(*words), "the last attempt is in the journal")
    lines = [line.split() for line in boot.journal(*words).splitlines()]
    tried = {words[0]: words[1] for words in lines if words[0] in ALL}
    assert list(tried) == ALL
    return [what for what, answer in tried.items() if answer == "allowed"]
