"""Foreign text made fit to be shown: without credentials, and plain; it looks nothing up.

Names of files, classes, tensors and operators, and answers of servers, come from anybody. Whatever
shows a text to a person passes it through here; what a program reads is not made plain. Of what
may be a credential too much is taken: a name that lost its host is a nuisance, a leaked password is
not.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
"""What stands where a secret was."""

# Begun only where a word begins: from every letter of it a long word would take minutes.
_SCHEME = re.compile(r"((?<![A-Za-z])[A-Za-z][A-Za-z0-9+.-]*://)")
# "rtsp:/user:pw@host": no URL, but meant as one.
_MISTYPED = re.compile(r"(?i)((?<![A-Za-z])(?:rtsps?|https?):/?)(?!/)(?!\*{3}@[^@\s]*(?:\s|$)).*@")
_OF_URLS = re.compile(r"(?i)(?:https?|rtsps?|rtmps?|wss?|ftps?|file|udp|tcp|rtp|srt)://")
_AUTHORITY = re.compile(r"[^/?#]*")
# A host name or a bracketed IPv6 address, a port, and the punctuation of a sentence around it.
_PLAIN_HOST = re.compile(r"""(\[[^\]@]*\]|[^:@\[\]]*)(:\d+)?['"`,.;)\]>}]*""")
_ENCODED_LOGIN = re.compile(r"(?i)(%3A(?:%2F){2})[^\s&]*%40")
# What our own advice writes where a login belongs; one more "@" and it is somebody's password.
_PLACEHOLDER = re.compile(r"USER(?::PASSWORD)?@HOST(?![\w.:-])[^@]*")
_END_OF_URL = re.compile(r"""[\s,;]['"`(\[<{]*$""")
_PARAMETER = re.compile(r"(?<=[?&;#/])([^=?&;#/\s]+)=([^;&#\s]*)((?:;[^&#\s]*)?)")

# "user:pw@host" without a scheme, also where it was taken for a file's name; within quotes a
# password may hold spaces. Bounded, so that a long word takes no minutes. No logins are
# "synthetic:96x54@30", "record:/srv/a@b" and our placeholder.
_BARE_LOGIN = re.compile(
    r"""(?:(?<![^\s"'`(\[{<=,;|])|(?<=[^/:]/)|(?<=[^:]//))"""
    r"""(?<!://\[)(?!\*|mailto:|record:|USER:PASSWORD@HOST(?![\w.:-])|(?:synthetic|camera|csi):\S*?\d+x\d+@\d"""
    r"""|(?:[\w-]{1,16}:)?[A-Za-z][A-Za-z0-9+.-]{0,32}://|(?i:rtsps?|https?):/{0,2}\*{3}@)"""
    r"""(?:(?<=["'])[^\s:/@"']{1,64}:[^"'\n]{0,256}|[^\s:/@"'`(\[{<=,;|]{1,64}:\S{0,256})"""
    r"""@(?=[\w\[])"""
)
_QUERY = re.compile(r"(?<=[?&])([^=?&;#/\s]+)=([^&#\s\"'`,)\]>}]+)")
_BARE_QUERY = re.compile(r"(?<=\?)[^=?&;#/\s\"'`,)\]>}]{6,}(?![^&#\s\"'`,)\]>}])")
_PLAIN_VALUE = re.compile(r"-?\d{1,5}(?:\.\d+)?|\d+x\d+|\*{3}")
_PLAIN_NAMES = {
    "action", "audio", "bitrate", "cam", "camera", "channel", "codec", "compression", "end",
    "endtime", "format", "fps", "framerate", "height", "mode", "profile", "proto",
    "quality", "rate", "res", "resolution", "rotation", "size", "start", "starttime",
    "stream", "streamtype", "subtype", "timeout", "transport", "unicast",
    "video", "videocodec", "width",
}  # fmt: skip
"""Whose values are shown; of other parameters only small numbers are, and sizes."""

# In a pipeline of GStreamer: rtspsrc user-pw=… proxy-pw="…", and the like.
_PIPELINE = re.compile(r"(?<![\w-])gst:")
# Without quotes a value goes on to the next space, over "!" too, as GStreamer reads it.
_PROPERTY = re.compile(
    r"""(?<![\w-])([A-Za-z][\w-]*)\s*=\s*("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|(?:\\.|\S)+)"""
)

_SECRET_PARTS = (
    "token", "key", "pas", "pwd", "psw", "sig", "secret", "auth", "cred", "session", "jwt",
)  # fmt: skip
_SECRET_NAMES = {
    "user", "username", "usr", "login", "account", "pw", "sid", "code", "p", "u", "k", "id", "pin",
    "otp", "hash", "ticket",
}  # fmt: skip
_SECRET_PROPERTIES = frozenset(
    {"user-id", "user-pw", "proxy-id", "proxy-pw", "cookies", "extra-headers"}
)


def redact(text: str) -> str:
    """The text with logins and secret parameters of all its URLs replaced by ``***``.

    A login without a scheme goes as well, and so does every parameter of a query that is not known
    to be harmless. ``rtsp://user:pa@ss@cam/1?token=x`` becomes
    ``rtsp://***@cam/1?token=***``. Passwords that hold
    unescaped ``@ / ? #`` are covered: everything up to the last ``@`` of such a URL goes.
    """
    text = _MISTYPED.sub(rf"\1{HIDDEN}@", text)
    before, *parts = _SCHEME.split(text)  # text, scheme, rest, scheme, rest, ...
    done = [before]
    while parts:
        scheme, rest, *parts = parts
        while parts and _login_goes_on(rest):  # "user:pa://ss@host": no scheme, but a password
            rest, parts = rest + parts[0] + parts[1], parts[2:]
        done += [scheme, _without_parameters(_without_login(rest, scheme))]
    shown = _QUERY.sub(_without_value, _BARE_LOGIN.sub(f"{HIDDEN}@", "".join(done)))
    pipeline = _PIPELINE.search(shown)
    if pipeline is None:
        return shown
    before, shown = shown[: pipeline.end()], shown[pipeline.end() :]
    return before + _PROPERTY.sub(
        lambda m: f"{m.group(1)}={HIDDEN}" if _is_secret_property(m) else m.group(), shown
    )


def secret_properties(pipeline: str) -> list[str]:
    """The values in a pipeline that ``redact`` would hide, without their quotes.

    Each as it is written and as it is meant: GStreamer repeats both. Of a URL they are user and
    password, which it repeats one by one.
    """
    found = []
    for match in _PROPERTY.finditer(pipeline):
        if _is_secret_property(match):
            written = match.group(2).strip("\"'")
            found += [written, re.sub(r"\\(.)", r"\1", written)]
    for login in re.findall(r"://([^\s\"']*)@", pipeline):
        found += [part for word in login.split(":", 1) for part in (word, unquote(word))]
    return list(dict.fromkeys(value for value in found if value))


def _is_secret_property(match: re.Match[str]) -> bool:
    name = match.group(1).lower()
    return name in _SECRET_PROPERTIES or _is_secret(name)


def _is_secret(name: str) -> bool:
    return name in _SECRET_NAMES or any(part in name for part in _SECRET_PARTS)


def _authority(url: str) -> str:
    match = _AUTHORITY.match(url)
    return match.group() if match else ""


def _login_goes_on(rest: str) -> bool:
    """Whether what follows ``scheme://`` is the beginning of a login whose host is yet to come."""
    authority = _authority(re.split(r"\s", rest, maxsplit=1)[0])
    if _PLAIN_HOST.fullmatch(authority):
        return not rest
    return "@" not in rest or authority.endswith("@") or not _END_OF_URL.search(rest)


def _without_login(rest: str, scheme: str) -> str:
    """``rest`` is what follows ``scheme://`` up to the next scheme or the end of the text."""
    url = re.split(r"\s", rest, maxsplit=1)[0]
    if url.startswith(f"{HIDDEN}@") and url.count("@") == 1:
        return rest  # done before; an "@" behind it belongs to the sentence
    if _PLACEHOLDER.fullmatch(rest):
        return rest
    authority = _authority(url)
    plain = _PLAIN_HOST.fullmatch(authority)
    if plain is None:
        # "user:pa/ss@host": the slash ended the authority early; a space may have as well, even
        # behind an "@" ("user:p@ ss@host"). An "@" further on in a sentence takes the host along.
        url = rest
    elif not _OF_URLS.fullmatch(scheme):
        pass  # "user://pw?w@host": a password that begins with slashes
    elif (authority and not plain.group(2)) or authority.startswith("["):
        url = ""  # "user:12/34@host" looks like host, port and path; without a port it is none
    cut = url.rfind("@")
    return rest if cut < 0 else HIDDEN + rest[cut:]


def _without_parameters(rest: str) -> str:
    def hide(match: re.Match[str]) -> str:
        name = unquote(match.group(1)).lower()
        if _is_secret(name) and (match.group(2) or match.group(3)):
            return f"{match.group(1)}={HIDDEN}"  # some servers count a semicolon as the value's
        return f"{match.group(1)}={match.group(2)}{_PARAMETER.sub(hide, match.group(3))}"

    rest = _BARE_QUERY.sub(lambda m: m[0] if _PLAIN_VALUE.fullmatch(m[0]) else HIDDEN, rest)
    return _PARAMETER.sub(hide, _ENCODED_LOGIN.sub(rf"\1{HIDDEN}%40", rest))


def _without_value(match: re.Match[str]) -> str:
    name, value = unquote(match[1]).lower(), match[2].partition(";")[0].rstrip(".:,!?")
    plain = name in _PLAIN_NAMES or _PLAIN_VALUE.fullmatch(value)
    return match[0] if plain and not _is_secret(name) else f"{match[1]}={HIDDEN}"


_LONGEST_WORD = 500
"""Characters of a name that somebody can still make use of; a path of more is rare."""
_TOO_LONG = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


def plain(text: str) -> str:
    r"""``text`` on one line, with ``\x1b`` for an escape, ``\n`` for the end of a line and so on.

    Spelt out are control and format characters (the Unicode categories C and Z but the space): ESC,
    the ones that turn the direction of writing or have no width, and bytes that are no UTF-8. Of a
    word of more than 500 characters the beginning and the end are left.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) > _LONGEST_WORD:
        text = _TOO_LONG.sub(_ends_of, text)
    return text


def _ends_of(word: re.Match[str]) -> str:
    return f"{word[0][:200]}[… {len(word[0]) - 300} characters …]{word[0][-100:]}"


def plain_lines(text: str) -> str:
    """As ``plain``, for a text of ours that may have several lines: they stay."""
    return "\n".join(map(plain, text.split("\n")))
