"""An aarch64 Debian in a folder: packages and pinned wheels, entered through qemu by any user.

Nothing of the machine is changed. Each command runs in a user namespace of its own, which has its
own binfmt_misc from Linux 6.7 on; an older kernel has to know qemu already. Debian's packages are
unpacked and not configured, so nothing asks for root's rights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.kept import kept

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUITE = "bookworm"
PYTHON = "3.11"
"""Debian bookworm's."""
PINS = ROOT / "constraints" / "py311.txt"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
QEMU = "qemu-aarch64-static"
CPU = "cortex-a76"
"""Armv8.2 with half precision and dot products and without SVE, like the Cortex-A78AE of Orin."""
PACKAGES = ("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep",
            "procps", "sed", "python3", "python3-venv", "libgl1", "libglib2.0-0", "python3-gi",
            "gir1.2-gstreamer-1.0", "gir1.2-gst-plugins-base-1.0", "gir1.2-gst-rtsp-server-1.0",
            "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good")  # fmt: skip
TEST_TOOLS = ("hypothesis", "packaging", "pip", "pytest", "pytest-timeout", "pytest-xdist",
              "setuptools")  # fmt: skip
GLIBC_MINORS = range(17, 37)
"""manylinux tags that bookworm's glibc 2.36 takes."""
NEEDS = {
    "apt-get": "apt", "dpkg-deb": "dpkg", "unshare": "util-linux", QEMU: "qemu-user-static",
    str(KEYRING): "debian-archive-keyring",
}  # fmt: skip
"""Command or file, and the Debian package that brings it."""

CPUINFO = """processor	: {number}
BogoMIPS	: 62.50
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

"""
"""/proc/cpuinfo of such a processor. qemu 7.2 shows the host's, with which ONNX Runtime ends by
SIGSEGV at import."""
MIDR = "0x00000000414fd0b1"
"""The same in the register MIDR_EL1."""

ENTER = r"""set -eu
qemu=$1 root=$2; shift 2
if mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null; then
    elf='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    all='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf %s ":aarch64:M::$elf:$all:$qemu:F" > /proc/sys/fs/binfmt_misc/register
elif ! grep -q '^flags:.*F' /proc/sys/fs/binfmt_misc/qemu-aarch64 2>/dev/null; then
    echo 'error: this kernel has no binfmt_misc for a user namespace (Linux 6.7 has) and does not' \
        'know qemu-aarch64 itself; let root do: systemctl restart systemd-binfmt' >&2
    exit 1
fi
for place in proc sys dev; do mount --rbind "/$place" "$root/$place"; done
mount -t tmpfs none "$root/tmp"
mount --bind "$root/cpuinfo" "$root/proc/cpuinfo"
# The processors of /sys as they are, which OpenVINO's threads are laid out by, and their register,
# without which it warns.
mkdir -p "$root/cpus"
mount -t tmpfs none "$root/cpus"
cp -r /sys/devices/system/cpu/. "$root/cpus" 2>/dev/null || true
for cpu in "$root"/cpus/cpu[0-9]*; do
    mkdir -p "$cpu/regs/identification"
    echo @MIDR@ > "$cpu/regs/identification/midr_el1"
done
mount --bind "$root/cpus" "$root/sys/devices/system/cpu"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    shift 2
done
shift
exec chroot "$root" /usr/bin/env -i "$@"
""".replace("@MIDR@", MIDR)
ENVIRONMENT = {
    "PATH": "/opt/outrider/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "QEMU_CPU": CPU,
    # Compiling a module under qemu is slow, so it is done once; the checkout stays clean.
    "PYTHONPYCACHEPREFIX": "/var/cache/pycache",
}


def missing() -> list[str]:
    """Debian packages that this machine lacks for it."""
    return [
        package
        for sign, package in NEEDS.items()
        if not (Path(sign).exists() if "/" in sign else shutil.which(sign))
    ]


def mirror() -> str:
    """``OUTRIDER_DEBIAN``, else where this machine's apt gets the suite from, '' if nowhere.

    A Debian mirror has every architecture.
    """
    if named := os.environ.get("OUTRIDER_DEBIAN"):
        return named
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = [line.split()[0] for line in told.stdout.splitlines() if line.endswith(f" {SUITE}")]
    return sites[0] if sites else ""


@dataclass(frozen=True)
class Root:
    """The folder, and the host's folders that are seen inside: {place inside: folder}."""

    path: Path
    mounts: dict[str, Path]

    def enter(self, *words: str, **environ: str) -> list[str]:
        """The command that runs ``words`` inside."""
        qemu = shutil.which(QEMU) or QEMU
        mounts = [word for to, of in self.mounts.items() for word in (str(of), to)]
        pairs = [f"{key}={value}" for key, value in {**ENVIRONMENT, **environ}.items()]
        namespace = ["unshare", "--user", "--map-root-user", "--mount"]
        script = ["sh", "-c", ENTER, "enter", qemu, str(self.path), *mounts, "--"]
        return [*namespace, *script, *pairs, *words]


def root() -> Path:
    """The folder, made at the first call and again where a package or a pin has changed.

    Raises:
        subprocess.CalledProcessError: the network, or this machine's rules, do not let it be made.
    """
    decides: list[Path | str] = [PINS, SUITE, *PACKAGES, *requirements()]
    made = kept("aarch64", decides, _make)
    count = os.cpu_count() or 1
    (made / "cpuinfo").write_text("".join(CPUINFO.format(number=i) for i in range(count)))
    return made


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _unpack_debian(folder, Path(scratch) / "apt")
        (folder / "cpuinfo").write_text(CPUINFO.format(number=0))
        for name in ("passwd", "group"):  # what the package would do when it is configured
            shutil.copy(folder / f"usr/share/base-passwd/{name}.master", folder / "etc" / name)
        wheels = Path(scratch) / "wheels"
        _download_wheels(wheels)
        inside = Root(folder, {"/wheels": wheels, "/pins": PINS.parent})
        # Without them GIO, which GStreamer's network elements use, ends the program.
        schemas = "/usr/lib/aarch64-linux-gnu/glib-2.0/glib-compile-schemas"
        subprocess.run(inside.enter(schemas, "/usr/share/glib-2.0/schemas"), check=True)
        python = "/opt/outrider/bin/python"
        subprocess.run(inside.enter("python3", "-m", "venv", "/opt/outrider"), check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-index"]
        offline = ["--find-links", "/wheels", "-c", f"/pins/{PINS.name}"]
        subprocess.run(inside.enter(*pip, *offline, *requirements()), check=True)


def _unpack_debian(folder: Path, apt: Path) -> None:
    """Let this machine's apt resolve, verify and fetch arm64 packages, and unpack them."""
    for place in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/dpkg",
                  "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):  # fmt: skip
        (apt / place).mkdir(parents=True)
    (apt / "var/lib/dpkg/status").touch()
    (apt / "etc/apt/sources.list").write_text(
        f"deb [arch=arm64 signed-by={KEYRING}] {mirror()} {SUITE} main\n"
    )
    settings = apt / "apt.conf"
    settings.write_text(
        f'Dir "{apt}"; Dir::State::status "{apt}/var/lib/dpkg/status"; APT::Architecture "arm64"; '
        'APT::Architectures "arm64"; APT::Install-Recommends "0"; APT::Sandbox::User "";\n'
    )
    environ = os.environ | {"APT_CONFIG": str(settings), "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["--yes", "--download-only", "install", *PACKAGES]):
        subprocess.run(["apt-get", "-qq", *words], env=environ, check=True)
    for archive in sorted((apt / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder)], check=True)


def _download_wheels(wheels: Path) -> None:
    """The pinned wheels for aarch64; a package without one ends it."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)),
        *("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON),
        *(word for platform in platforms for word in ("--platform", platform)),
        *("--platform", "manylinux2014_aarch64", "-c", str(PINS), *requirements()),
    ]
    subprocess.run(command, check=True)


def requirements() -> list[str]:
    """What the app, adoption and the tests without torch need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    export: list[str] = project["optional-dependencies"]["export"]
    wanted: list[str] = [*project["dependencies"], *export, *TEST_TOOLS]
    return [text for text in wanted if "python_version" not in text]  # tomli is for Python 3.10
