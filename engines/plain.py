"""Makes foreign text harmless to look at: what could command a terminal or hide is spelt out.

Names of files, classes, tensors and operators, and answers of servers, come from anybody. Whatever
shows a text to a person passes it through here; what a program reads does not.
"""

from __future__ import annotations

import re

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
