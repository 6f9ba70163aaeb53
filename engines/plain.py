"""Makes foreign text harmless to look at: what could command a terminal or hide is spelt out.

Names of files, classes, tensors and operators, and answers of servers, come from anybody. Whatever
shows a text to a person passes it through here; what a program reads does not.
"""

from __future__ import annotations


def plain(text: str) -> str:
    r"""``text`` on one line, with ``\x1b`` for an escape, ``\n`` for the end of a line and so on.

    Spelt out are control and format characters (the Unicode categories C and Z but the space): ESC,
    the ones that turn the direction of writing or have no width, and bytes that are no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain_lines(text: str) -> str:
    """As ``plain``, for a text of ours that may have several lines: they stay."""
    return "\n".join(map(plain, text.split("\n")))
