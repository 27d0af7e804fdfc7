# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # used by programs only; Ansible forbids printing to modules
"""The one place where lines are printed for a person: on a host's terminal, and to who pushes.

A line may hold what somebody else wrote: the subject of a commit, the name of a branch, what a build says. A terminal
obeys the control characters in it (console_codes(4)): they rename its window, hide lines, type into it. What Ansible
prints goes the same way; see `printable.py` beside the engine.
"""

from __future__ import annotations

import sys
import unicodedata

# Cc: control, also ESC's 8-bit kin (ECMA-48 5.3). Cf: what turns the direction of a line, so that it reads as another
# one (CVE-2021-42574). Cs: halves of a pair, which no terminal can be sent. Zl, Zp: ends of lines.
ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
KEPT = frozenset("\n\t\u200d\u200c\u00ad")  # joiners hold emoji and words of some scripts together
TAGS = range(0xE0000, 0xE0080)  # of languages: text that nobody sees (Unicode 23.9); not all of them have a category


def printable(text: str) -> str:
    """A text with everything a terminal would obey written as Python writes it: ESC as `\\x1b`."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(ascii(character)[1:-1] if is_obeyed(character) else character for character in text)


def is_obeyed(character: str) -> bool:
    return (unicodedata.category(character) in ESCAPED and character not in KEPT) or ord(character) in TAGS


def say(text: str, *, error: bool = False, end: str = "\n") -> None:
    """Print for a person.

    :param error: to standard error.
    """
    print(printable(text), end=end, file=sys.stderr if error else sys.stdout, flush=True)
