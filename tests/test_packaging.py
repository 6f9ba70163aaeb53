"""What a new user meets first: pins that resolve, commands that exist, links that lead on."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points, metadata, version
from pathlib import Path
from typing import Any

import click
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), ROOT / "tests/README.md"])

ROOTS = ("outrider[dev,rtx]",)
"""What is pinned, with all it pulls in. TensorRT and PyCUDA come with the machine."""

PYCUDA = ("pytools>=2011.2", "platformdirs>=2.2.0", "mako")
"""What PyCUDA 2026.1 asks for; it is compiled on a Jetson, with constraints/jetson.txt."""

TARGETS = [
    ("3.10", "x86_64"),
    ("3.10", "aarch64"),  # JetPack 6
    ("3.11", "x86_64"),
    ("3.11", "aarch64"),
    ("3.12", "x86_64"),
    ("3.12", "aarch64"),  # JetPack 7
    ("3.13", "x86_64"),
    ("3.13", "aarch64"),
]

GLIBC_MINORS = (17, 24, 26, 27, 28, 31, 34, 35)
"""glibc 2.35 is Ubuntu 22.04's, the oldest system with a Python of ours; each is a wheel tag that
packages use."""

TORCHS_CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-)|triton$")
"""What only torch's CUDA build asks for."""


def pins(python: str) -> dict[str, str]:
    """The constraint file for a Python version: {canonical name: version}."""
    return pins_of("py310" if python == "3.10" else "py311")


def pins_of(name: str) -> dict[str, str]:
    """A constraint file: {canonical name: version}."""
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def environment_of(python: str, machine: str, **others: str) -> dict[str, str]:
    """What markers are judged by on a Linux machine with that Python."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": machine,
        "platform_release": "6.8.0-45-generic",
        **others,
    }


def rtx_pins(environment: dict[str, str]) -> dict[str, str]:
    """What constraints/rtx.txt pins on such a machine: {canonical name: version}."""
    lines = (ROOT / "constraints" / "rtx.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pinned
        if pin.marker and pin.marker.evaluate(environment)
    }


def unmet(
    requires: dict[str, list[str]],
    chosen: dict[str, str],
    python: str,
    machine: str,
    roots: tuple[str, ...] = ROOTS,
) -> tuple[list[str], set[str]]:
    """Walk the requirements of ``roots`` through ``chosen`` versions as another machine would.

    ``requires`` maps a package to its Requires-Dist lines. Returns what is missing or out of range,
    and the names that were reached.
    """
    environment = environment_of(python, machine)
    problems: list[str] = []
    seen: dict[str, set[str]] = {}
    queue = [(Requirement(text), "the project") for text in roots]
    while queue:
        wanted, asker = queue.pop()
        name = canonicalize_name(wanted.name)
        if name != "outrider":
            if name not in chosen:
                problems.append(f"{asker} wants {wanted}: not pinned")
                continue
            if not wanted.specifier.contains(chosen[name], prereleases=True):
                problems.append(f"{asker} wants {wanted}: pinned {chosen[name]}")
        for extra in {"", *wanted.extras} - seen.setdefault(name, set()):
            seen[name].add(extra)
            for needed in map(Requirement, requires.get(name, [])):
                # With the extra "" come those without a marker; an extra brings only its own.
                marker = needed.marker
                if marker.evaluate({**environment, "extra": extra}) if marker else not extra:
                    queue.append((needed, name))
    return problems, set(seen)


def own_requirements() -> list[str]:
    """The project's Requires-Dist lines, straight from pyproject.toml."""
    lines: list[str] = list(PROJECT["dependencies"])
    for extra, texts in PROJECT["optional-dependencies"].items():
        for text in texts:
            requirement, _, marker = text.partition(";")
            also = f" and ({marker.strip()})" if marker else ""
            lines.append(f'{requirement.strip()}; extra == "{extra}"{also}')
    return lines


@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_every_dependency_has_an_exact_version_in_the_constraints(python: str) -> None:
    chosen = pins(python) | rtx_pins(environment_of(python, "x86_64"))
    problems, _ = unmet({"outrider": own_requirements()}, chosen, python, "x86_64")
    assert problems == []


@pytest.mark.parametrize(
    ("machine", "others", "cuda"),
    [
        ("x86_64", {}, ["cu12"]),
        ("aarch64", {"platform_release": "6.11.0-1016-nvidia"}, ["cu13"]),
        ("aarch64", {"platform_release": "5.15.148-tegra"}, []),  # JetPack has its own TensorRT
        ("ppc64le", {}, []),
        ("AMD64", {"sys_platform": "win32"}, []),
        ("x86_64", {"sys_platform": "darwin"}, []),
    ],
)
def test_the_extra_rtx_is_libraries_and_bindings_of_one_cuda_or_nothing(
    machine: str, others: dict[str, str], cuda: list[str]
) -> None:
    environment = environment_of("3.12", machine, **others)
    asked = map(Requirement, PROJECT["optional-dependencies"]["rtx"])
    names = {one.name for one in asked if one.marker and one.marker.evaluate(environment)}
    assert names == {f"tensorrt-rtx-{cu}-{part}" for cu in cuda for part in ("libs", "bindings")}
    pinned = rtx_pins(environment)
    assert names <= set(pinned)
    assert len(set(pinned.values())) == bool(pinned), "libraries and bindings of two releases"


def test_a_missing_and_a_contradicting_pin_are_found() -> None:
    tree = {"outrider": ["a>=2", "b; extra == 'dev'"], "a": ["c<1"], "b": ["d; extra == 'x'"]}
    problems, reached = unmet(tree, {"a": "1.0", "c": "1.0"}, "3.10", "x86_64")
    assert sorted(problems) == [
        "a wants c<1: pinned 1.0",
        "outrider wants a>=2: pinned 1.0",
        'outrider wants b; extra == "dev": not pinned',
    ]
    assert reached == {"outrider", "a", "c"}


@pytest.mark.slow
@pytest.mark.parametrize(("python", "machine"), TARGETS)
def test_the_constraints_resolve_to_wheels(python: str, machine: str, tmp_path: Path) -> None:
    """pip finds a wheel for every pin on that machine, and the pins satisfy each other.

    Those of constraints/rtx.txt by their own markers: not every machine has that extra.

    pip evaluates markers for the interpreter that runs it, whatever ``--python-version`` says. It
    only looks the wheels up here (``--no-deps``); the requirements it reports are walked below.
    """
    chosen = {
        name: version
        for name, version in pins(python).items()
        if not TORCHS_CUDA.match(name)  # several GB, fixed by torch itself
    }
    chosen |= rtx_pins(environment_of(python, machine))
    roots: tuple[str, ...] = ROOTS
    if machine == "aarch64":
        jetson = pins_of("jetson")
        assert jetson.pop("pycuda") == "2026.1"
        assert not set(jetson) & set(chosen), "pinned twice"
        chosen |= jetson
        roots += PYCUDA
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"),
        *("--ignore-installed", "--only-binary=:all:", "--python-version", python),
        *(word for platform in platforms for word in ("--platform", platform)),
        *("--platform", f"manylinux2014_{machine}"),
        *("--target", str(tmp_path / "none"), "--report", str(tmp_path / "report.json")),
        *(f"{name}=={version}" for name, version in chosen.items()),
    ]
    # pip keeps its own cache: make test has just filled it.
    environment = {key: value for key, value in os.environ.items() if key != "XDG_CACHE_HOME"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode and "Retrying" in run.stderr and not os.environ.get("CI"):
        pytest.skip("needs the package index")
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "report.json").read_text())["install"]
    requires: dict[str, list[str]] = {"outrider": own_requirements()}
    for item in found:
        texts = item["metadata"].get("requires_dist", [])
        wanted = [text for text in texts if not TORCHS_CUDA.match(Requirement(text).name)]
        requires[canonicalize_name(item["metadata"]["name"])] = wanted
    problems, reached = unmet(requires, chosen, python, machine, roots)
    assert problems == []
    assert set(chosen) == reached - {"outrider"}, "a pin that nothing asks for"


def test_the_installed_version_is_that_of_pyproject_and_of_the_changelog() -> None:
    assert version("outrider") == PROJECT["version"]
    heading = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading
    assert heading[1] == PROJECT["version"]


def test_both_commands_are_installed_and_say_what_they_offer() -> None:
    scripts = {entry.name: entry for entry in entry_points(group="console_scripts")}
    for name, target in PROJECT["scripts"].items():
        assert scripts[name].value == target
        run = subprocess.run(
            [Path(sys.executable).parent / name, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert "Commands:" in run.stdout


def test_every_file_of_the_packages_is_in_the_wheel(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ours = {
        path.relative_to(ROOT)
        for package in ("edge", "engines", "export")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "built" not in path.parts
    }
    extra = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
    folder = ROOT / "systemd"
    found = [*folder.glob("*.[!p]*"), *folder.glob("monitoring/*")]
    shipped = [path.relative_to(ROOT) for path in found]
    docs = ("MONITORING.md", "OUTPUT.md", "SERVICE.md", "WEB.md", "openapi.json")
    shipped += [Path("docs", name) for name in docs]
    for path in (*ours, *shipped, *map(Path, extra)):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert {str(path) for path in ours} - set(packed.namelist()) == set()
        shared = {name.partition(".data/data/")[2] for name in packed.namelist()} - {""}
    # Where ``edge service install`` looks below sys.prefix.
    assert shared == {f"share/outrider/{path}" for path in shipped}


def test_the_licence_and_the_notice_travel_with_the_package() -> None:
    assert metadata("outrider").get_all("License-File") == ["LICENSE", "NOTICE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    for told in ("CamVid", "TensorRT for RTX"):
        assert told in (ROOT / "NOTICE").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_of_the_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    gone = [
        target
        for target in targets
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert gone == []


def commands_in(text: str) -> Iterator[list[str]]:
    """The shell lines of a document's code blocks, prompt and comment removed."""
    # All fences, or the end of a block in another language is taken for a beginning.
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if kind not in ("", "sh", "bash", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ ").removeprefix("sudo "), comments=True)
            if words:
                yield words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_that_the_documents_show_exist(document: Path) -> None:
    """Every `make` target, and every option of `edge` and `edge-export`, is real."""
    import edge.cli
    import export.cli

    groups = {"edge": edge.cli.commands, "edge-export": export.cli.commands}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands_in(document.read_text(encoding="utf-8")):
        name = Path(words[0]).name
        if name == "make":
            assert next(word for word in words[1:] if "=" not in word) in targets, words
        if name not in groups or words[1:] == ["--help"]:
            continue
        command = groups[name].get_command(None, words[1])  # type: ignore[arg-type]
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words[2])
        assert command is not None, words
        options = {option for parameter in command.params for option in parameter.opts}
        used = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
        assert used <= options | {"--help"}, words
