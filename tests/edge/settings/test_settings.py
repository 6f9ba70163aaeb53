"""Settings: defaults, what wins over what, and one readable line for each mistake."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from edge.settings.load import load_settings
from edge.settings.settings import SHIPPED_MODEL, Settings, SourceSettings
from edge.sources.options import SourceOptions
from engines import ENGINES
from engines.errors import SettingsError
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = ROOT / "systemd" / "outrider.example.toml"
NO_DISPLAY: dict[str, str] = {}


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "car.toml"
    path.write_text(text)
    return path


def _load(tmp_path: Path, text: str, **overrides: Any) -> Settings:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_settings(_file(tmp_path, text), dotted, environ=NO_DISPLAY)


def _keys() -> dict[str, Any]:
    """Every valid key, dotted, with its default."""
    sections = {name: getattr(Settings(), name) for name in Settings.model_fields}
    return {f"{s}.{k}": v for s, section in sections.items() for k, v in section}


def test_without_a_file_the_shipped_model_looks_at_the_synthetic_street() -> None:
    settings = load_settings(None, environ=NO_DISPLAY)
    assert settings.source.uri == "synthetic"
    assert settings.model.files == (SHIPPED_MODEL,)
    assert settings.output.sinks == ("null",)  # no display


def test_a_display_that_does_not_answer_is_no_display() -> None:
    assert load_settings(None, environ={"DISPLAY": ":987"}).output.sinks == ("null",)


@pytest.mark.parametrize("name", ["auto", *ENGINES])
def test_every_engine_of_the_table_can_be_asked_for(name: str) -> None:
    assert load_settings(None, {"model.engine": name}, environ=NO_DISPLAY).model.engine == name


def test_options_win_over_the_file_and_those_not_given_do_not(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        "[detect]\nconf = 0.5\nmax_detections = 7\n",
        detect__conf=0.25,
        detect__max_detections=None,
        pipeline__frames=3,
    )
    assert settings.detect.conf == 0.25
    assert settings.detect.max_detections == 7
    assert settings.pipeline.frames == 3


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings(None, environ=NO_DISPLAY).detect.conf = 0.1  # type: ignore[misc]


def test_paths_in_a_file_start_at_the_file_and_those_of_options_at_the_shell(
    tmp_path: Path,
) -> None:
    settings = _load(
        tmp_path,
        '[source]\nuri = "v/*.png"\n[model]\nfiles = ["a.onnx", "/b.onnx"]\n'
        '[output]\nsinks = ["o.mp4", "window", "-", "null", "record:r"]\nmetrics = "../m.json"\n',
    )
    assert settings.source.uri == str(tmp_path / "v/*.png")
    assert settings.model.files == (tmp_path / "a.onnx", Path("/b.onnx"))
    assert settings.output.sinks == (
        *(str(tmp_path / "o.mp4"), "window", "-", "null"),
        f"record:{tmp_path / 'r'}",
    )
    assert settings.output.metrics == tmp_path / ".." / "m.json"
    settings = _load(tmp_path, "", source__uri="v.mp4", model__files=["a.onnx"])
    assert settings.source.uri == "v.mp4"
    assert settings.model.files == (Path("a.onnx"),)


@pytest.mark.parametrize(
    "uri",
    [
        "synthetic",
        "synthetic:64x48@5",
        "camera:0",
        "rtsp://a/b",
        "https://a/b.mp4",
        "csi:0",
        "gst:a/b",
        "rtsp:/u:p@a/b",
        "0",
    ],
)
def test_a_source_that_is_no_file_is_left_as_it_is(uri: str, tmp_path: Path) -> None:
    assert _load(tmp_path, f'[source]\nuri = "{uri}"').source.uri == uri


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[detect]\n\nconf = 2", ":3: detect.conf: got 2, wanted 0 to 1"),
        ("[detect]\nconf = -0.1", ":2: detect.conf: got -0.1, wanted 0 to 1"),
        ('[detect]\nconf = "0.5"', ":2: detect.conf: got '0.5', wanted a number"),
        ("[detect]\nconf = true", ":2: detect.conf: got true, wanted a number"),
        ("[detect]\nconf = nan", ":2: detect.conf: got nan, wanted a finite number"),
        ("[detect]\nclasses = []", ":2: detect.classes: got [], wanted at least one entry"),
        ('[detect]\nclasses = "car"', """got 'car', wanted a list, such as ["a", "b"]"""),
        ("[detect]\nclasses = [1]", ":2: detect.classes: got 1, wanted a text in quotes"),
        (
            "[detect]\nignore = 3",
            ":2: detect.ignore: got 3, wanted corners as [x, y], each a number",
        ),
        ("[detect]\nignore = [[0, 0], [1, 1]]", "wanted 3 to 64 different corners [x, y] a region"),
        ("[detect]\nignore = [[0, 0], [1, 1], [0, 0]]", "wanted 3 to 64 different corners"),
        ("[detect]\nignore = [[0, 0], [1.1, 0], [0, 1]]", "[1.1, 0], [0, 1]], wanted corners"),
        ("[detect]\nignore = [[0, 0], [-1, 0], [0, 1]]", "each a number of 0 to 1"),
        ("[detect]\nignore = [[0, 0], [nan, 0], [0, 1]]", "each a number of 0 to 1"),
        ("[detect]\nignore = [[0, 0], [true, 0], [0, 1]]", "each a number of 0 to 1"),
        ('[detect]\nignore = [[0, 0], ["1", 0], [0, 1]]', "each a number of 0 to 1"),
        ("[detect]\nignore = [[0, 0], [1, 0, 1], [0, 1]]", "such as [[0, 0.8], [1, 0.8]"),
        ("[detect]\nignore = [[[0, 0], [1, 0], [0, 1]], []]", "wanted 3 to 64 different corners"),
        (f"[detect]\nignore = {[[[0, 0], [1, 0], [0, 1]]] * 33}", "wanted 32 regions at most"),
        ("[pipeline]\nframes = -1", ":2: pipeline.frames: got -1, wanted 1 to 1000000000000"),
        ("[pipeline]\nframes = 1.5", ":2: pipeline.frames: got 1.5, wanted a whole number"),
        ("[pipeline]\nseconds = 0", ":2: pipeline.seconds: got 0, wanted more than 0"),
        ("[source]\nrotate_deg = 45", "source.rotate_deg: got 45, wanted 0, 90, 180 or 270"),
        ('[source]\nflip = "x"', 'got \'x\', wanted "none", "horizontal", "vertical" or "both"'),
        ("[source]\nimages_fps = 1e-300", "source.images_fps: got 1e-300, wanted"),
        ("[source]\nread_timeout_s = inf", "source.read_timeout_s: got inf, wanted a finite"),
        ("[model]\nfiles = []", ":2: model.files: got [], wanted at least one entry"),
        ('[model]\nfiles = [""]', ":2: model.files: got '', wanted a path in quotes"),
        ("[model]\nthreads = 0", ":2: model.threads: got 0, wanted 1 to 1024"),
        ('[model]\ntrust = ["ABC"]', ":2: model.trust: got 'ABC', wanted a SHA-256: 64 digits"),
        ('[model]\ntiles = "0x1"', """:2: model.tiles: got '0x1', wanted COLUMNSxROWS, such as"""),
        ('[model]\ntiles = "9x9"', "got '9x9', wanted COLUMNSxROWS"),
        ('[model]\ntiles = "2"', 'such as "2x1", of 1 to 16 tiles in all'),
        ('[model]\ntiles = "two by one"', "got 'two by one', wanted COLUMNSxROWS"),
        ("[model]\ntiles = 2", "model.tiles: got 2, wanted a text in quotes"),
        ('[model]\nletterbox = "gpu"', 'got \'gpu\', wanted "auto", "host" or "device"'),
        ("[log]\nverbose = 1", ":2: log.verbose: got 1, wanted true or false"),
        ('[output]\nsinks = "a.mp4"', """:2: output.sinks: got 'a.mp4', wanted a list"""),
        ("[output]\nmetrics = 1", ":2: output.metrics: got 1, wanted a path in quotes"),
        ("detect = 1", ":1: detect: got 1, wanted a section: write [detect]"),
        ("[detect]\nconff = 1", ':2: detect.conff: unknown key, did you mean "conf"?'),
        ("[model]\nconf = 1", ':2: model.conf: unknown key; "conf" belongs under [detect]'),
        ("conf = 1", ':1: conf: unknown key; "conf" belongs under [detect]'),
        ("[detekt]\nconf = 1", ":1: detekt: unknown section, did you mean [detect]?"),
        ("[zzz]", ":1: zzz: unknown section; the sections are [source], [model]"),
        ("[detect]\nzzz = 1", "unknown key; [detect] takes conf, nms_iou, classes"),
        ("[detect]\nconf = ", "not valid TOML: "),
        ("[detect]\nconf = 0.1\nconf = 0.2\n", "(at line 3"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_got_and_wanted(
    text: str, line: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "car.toml") + ":")
    assert line in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("[]", ()),
        ("[[0, 0], [1, 0], [0.5, 1]]", (((0, 0), (1, 0), (0.5, 1)),)),
        (
            "[[[0, 0], [1, 0], [0, 1]], [[1, 1], [1, 0], [0, 1]]]",
            (((0, 0), (1, 0), (0, 1)), ((1, 1), (1, 0), (0, 1))),
        ),
    ],
)
def test_ignored_regions_are_one_polygon_or_several(
    text: str, regions: tuple[Any, ...], tmp_path: Path
) -> None:
    assert _load(tmp_path, f"[detect]\nignore = {text}").detect.ignore == regions


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, "[detect]\nconf = 2\nzzz = 1\n[pipeline]\nframes = 0\n")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("detect.conf", 2.0, "--conf: got 2.0, wanted 0 to 1"),
        ("pipeline.frames", -3, "--frames: got -3, wanted 1 to 1000000000000"),
        ("pipeline.seconds", 1e300, "--seconds: got 1e+300, wanted 1e+09 or less"),
        (
            "source.uri",
            "a\udcff.mp4",
            '--source: got "a\\udcff.mp4", wanted a text in UTF-8: rename the file',
        ),
        (
            "source.uri",
            "rtsp://u:secret@h/\udcff",
            '--source: got "rtsp://***@h/\\udcff", wanted a text in UTF-8: rename the file',
        ),
        ("detect.classes", ["car", ""], "--classes: got '', wanted a text that is not empty"),
        ("source.policy", "x", '--policy: got \'x\', wanted "auto", "drop" or "wait"'),
    ],
)
def test_a_mistake_in_an_option_names_the_option(key: str, value: Any, line: str) -> None:
    with pytest.raises(SettingsError, match="^" + re.escape(line) + "$"):
        load_settings(None, {key: value}, environ=NO_DISPLAY)


@pytest.mark.parametrize("text", ["[source]\nuri = 5", "[source]\nuri = ['rtsp://u:secret@h/']"])
def test_a_wrong_source_is_told_without_its_text(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"source\.uri: got") as caught:
        _load(tmp_path, text)
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.__cause__)


def test_credentials_are_not_in_the_printed_settings(tmp_path: Path) -> None:
    settings = _load(tmp_path, '[source]\nuri = "rtsp://user:secret@cam/1"')
    assert "secret" not in repr(settings) + str(settings)


def test_a_password_file_starts_at_the_settings_and_is_looked_at_with_them(tmp_path: Path) -> None:
    text = '[source]\nuri = "rtsp://viewer@cam/1"\npassword_file = "cam.password"'
    with pytest.raises(SettingsError, match="password_file: the file cannot be read: No such"):
        _load(tmp_path, text)
    (tmp_path / "cam.password").write_text("S3CR3T")
    (tmp_path / "cam.password").chmod(0o600)
    assert _load(tmp_path, text).source.password_file == str(tmp_path / "cam.password")
    assert "S3CR3T" not in repr(_load(tmp_path, text))
    with pytest.raises(SettingsError, match="no user whose password"):
        _load(tmp_path, text, source__uri="synthetic")


def test_a_source_and_a_sink_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    secrets = {"cam": "rtsp://u:S3CR3T@cam/1\nmore", "relay": "rtsp://u:S3CR3T@server/car"}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    text = '[source]\nuri_file = "cam"\n[output]\nsinks = ["null"]\nsink_files = ["relay"]'
    loaded = _load(tmp_path, text)
    assert loaded.source.uri == "rtsp://u:S3CR3T@cam/1"
    assert loaded.output.sinks == ("null", "rtsp://u:S3CR3T@server/car")
    assert "S3CR3T" not in repr(loaded)
    given = _load(tmp_path, text, source__uri="synthetic", output__sinks=["a.mp4"])
    assert (given.source.uri, given.output.sinks) == ("synthetic", ("a.mp4",))
    with pytest.raises(SettingsError, match="uri names a source, too"):
        _load(tmp_path, '[source]\nuri = "synthetic"\nuri_file = "cam"')
    for file in ("cam", "relay"):
        (tmp_path / file).chmod(0o644)
        with pytest.raises(SettingsError, match=f"{file} can be read by others"):
            _load(tmp_path, text)
        (tmp_path / file).chmod(0o600)
    (tmp_path / "cam").write_bytes(b"rtsp://\xff@cam")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        _load(tmp_path, text)


@pytest.mark.parametrize("value", ['["S3CR3T"]', "5307", '""'])
def test_a_password_in_the_place_of_its_file_is_not_shown(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"source\.password_file: got a?") as caught:
        _load(tmp_path, f"[source]\npassword_file = {value}")
    assert not re.search("S3CR3T|5307", str(caught.value))


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: no such settings file"):
        load_settings(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_a_video_in_the_place_of_settings_is_sent_to_its_option(tmp_path: Path) -> None:
    path = tmp_path / "a.AVI"
    path.write_bytes(b"RIFF\xff\xff")
    with pytest.raises(SettingsError, match=r"A source goes to: edge run --source .*a\.AVI$"):
        load_settings(path)


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"# ok\n# \xff\n")
    with pytest.raises(SettingsError, match=r"x\.toml: not UTF-8 text in line 2"):
        load_settings(path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"output.sinks": ["a.mp4", "./a.mp4"]}, "over another output"),
        ({"output.sinks": ["window", "window"]}, "twice, wanted it once"),
        ({"output.sinks": ["-", "-"]}, "twice, wanted it once"),
        ({"source.uri": "a.mp4", "output.sinks": ["a.mp4"]}, "over the source"),
        ({"source.uri": "~/a.mp4", "output.sinks": [f"{Path.home()}/a.mp4"]}, "over the source"),
        ({"model.files": ["a.json"], "output.metrics": "a.json"}, "over the model"),
        ({"output.metrics": "pictures/a.png"}, r"metrics: got .*a\.png., wanted .* in \.json"),
    ],
)
def test_an_output_never_overwrites_an_input_or_another_output(
    overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(None, overrides, environ=NO_DISPLAY)


def test_the_settings_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("")
    with pytest.raises(SettingsError, match="over the settings"):
        load_settings(path, {"output.metrics": str(path)}, environ=NO_DISPLAY)


def test_the_example_file_is_valid_and_says_the_defaults() -> None:
    assert load_settings(EXAMPLE, environ=NO_DISPLAY) == load_settings(None, environ=NO_DISPLAY)


@pytest.mark.parametrize(
    ("sinks", "file", "words"),
    [
        (["rtsp://h:x/car"], None, "not the address of a server"),
        (["rtsp://bob@h/car"], "none", r"\[output\] password_file: the file cannot be read"),
        (["rtsp://h/car"], "password", "the address has no user whose password it could be"),
        (["rtsp://bob:S3CR3T@h/car"], "password", "the address has a password already"),
        (["null"], "password", "no sink has a user whose password it could be"),
        (["rtsp://bob:S3CR3T@h/car"] * 2, None, r"rtsp://\*\*\*@h/car\" twice"),
    ],
)
def test_a_wrong_address_or_password_of_a_stream_is_refused_at_loading(
    sinks: list[str], file: str | None, words: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("S3CR3T")
    (tmp_path / "password").chmod(0o600)
    given = None if file is None else str(tmp_path / file)
    with pytest.raises(SettingsError, match=words) as raised:
        load_settings(None, {"output.sinks": sinks, "output.password_file": given}, environ={})
    assert "S3CR3T" not in str(raised.value)


def test_a_mistake_in_the_sinks_shows_no_password(tmp_path: Path) -> None:
    path = _file(tmp_path, '[output]\nsinks = "rtsp://bob:S3CR3T@server/car"\n')
    with pytest.raises(SettingsError, match="sinks: got") as raised:
        load_settings(path)
    assert "S3CR3T" not in str(raised.value)


def test_the_example_file_names_every_key_and_its_commented_ones_are_valid(tmp_path: Path) -> None:
    # "# key = value" is a setting; in prose no line has that form.
    text = re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    secrets = {"cam": "S3CR3T", "source": "rtsp://viewer@cam/1", "relay": "rtsp://bob@h/car"}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    of_a_camera = text.replace('uri = "synthetic"', "")  # beside uri_file
    load_settings(_file(tmp_path, of_a_camera), environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    named = {f"{s}.{k}" for s, table in tomllib.loads(text).items() for k in table}
    assert named == set(_keys())


def test_every_number_carries_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type), name
        assert issubclass(field.annotation, BaseModel), name
    numbers = {key for key, value in _keys().items() if isinstance(value, float)}
    bare = {key for key in numbers if not re.search(r"_(s|fps|gb|mb)$", key)}
    assert bare == {"overlay.mask_opacity", "record.event_score"}  # fractions


def test_a_source_is_opened_with_every_setting_of_it_and_the_same_defaults() -> None:
    assert SourceSettings().options() == SourceOptions()
    assert SourceSettings(seed=7, flip="both").options() == SourceOptions(seed=7, flip="both")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'x = "\xff"', r"not UTF-8 text in line 1"),
        ("x = 1".encode("utf-16"), "text in UTF-16, wanted UTF-8: save it as UTF-8"),
        (b"\n" * 2_000_000, "more than 1 MB, wanted a file of settings"),
        (b"x = " + b"[" * 100_000, "nested too deep, wanted sections of keys"),
        (b"x = " + b"{a=" * 100_000, "nested too deep, wanted sections of keys"),
        (b"x = " + b"1" * 5_000, "a number of too many digits"),
        (b"detect.conf = " + b"1" * 4_000, r"1: detect\.conf: got 1{57}\.\.\., wanted a number"),
        (b"a." * 50_000 + b"a = 1", "nested too deep"),
        (b'"a,".' * 50_000 + b"a = 1", "nested too deep"),
        (b"x = [" + b'"a.onnx", ' * 200 + b"]", "x: unknown"),
        (b'[source]\nuri = "a\\u0000b"', r"2: source\.uri: got a str, wanted a text without"),
        (
            b'[output]\nsinks = ["a", "b\\u0000"]',
            r"2: output\.sinks: got .*, wanted a text without",
        ),
        (b'[model]\nfiles = ["\\u0000.onnx"]', r"2: model\.files: got .*, wanted a text without"),
        (b'"a\\u0000" = 1', "unknown key"),
        (b'"' + b"k" * 5_000 + b'" = 1', "toml: k{60}: unknown key"),
    ],
)
def test_a_hostile_file_is_one_message(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=why) as caught:
        load_settings(path, environ=NO_DISPLAY)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_settings_are_read_as_any_editor_saves_them(
    tmp_path: Path, mark: bytes, end: bytes
) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(mark + end.join([b"[detect]", b"conf = 0.5", b"# \xc3\xbc"]))
    assert load_settings(path, environ=NO_DISPLAY).detect.conf == 0.5


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(SettingsError, match="not a regular file, wanted a file of settings"):
            load_settings(path)


def test_of_a_thousand_mistakes_the_first_are_told(tmp_path: Path) -> None:
    lines = [f"wrong{number} = 1" for number in range(8_000)]
    began_s = time.process_time()
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, "\n".join(["[detect]", *lines]))
    told = str(caught.value).splitlines()
    assert len(told) == 21
    assert told[0].startswith(f"{tmp_path}/car.toml:2: detect.wrong0: unknown key")
    assert told[-1] == f"{tmp_path}/car.toml: and 7980 more mistakes"
    assert time.process_time() - began_s < 5  # each by itself would take a minute
