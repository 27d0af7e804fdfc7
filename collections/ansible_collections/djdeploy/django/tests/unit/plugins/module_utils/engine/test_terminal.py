# SPDX-License-Identifier: GPL-3.0-or-later
"""What reaches a terminal: nothing that it would obey, and everything else as it was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import terminal
from ansible_collections.djdeploy.django.plugins.module_utils.engine.terminal import printable, say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Give notes stars", "Give notes stars"),
        ("", ""),
        ("two\n  lines\tand a tab\n", "two\n  lines\tand a tab\n"),
        ("ünïcode, 日本語, €, \U0001f468\u200d\U0001f469", "ünïcode, 日本語, €, \U0001f468\u200d\U0001f469"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b[8mhidden", r"\x1b[8mhidden"),
        ("\x9b31m and \x90", r"\x9b31m and \x90"),
        ("over\rwritten\x08\x7f\x00", r"over\rwritten\x08\x7f\x00"),
        ("turned \u202e around \u2066", r"turned \u202e around \u2066"),
        ("line\u2028s", r"line\u2028s"),
        ("half \ud83d a pair, no UTF-8 \udcff", r"half \ud83d a pair, no UTF-8 \udcff"),
        (r"as it was: \x1b", r"as it was: \x1b"),
    ],
)
def test_printable(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    say(text)
    assert capsys.readouterr() == (f"{shown}\n", "")
    say(text, error=True)
    assert capsys.readouterr() == ("", f"{shown}\n")


def test_it_is_the_only_place_that_prints_for_a_person() -> None:
    """What programs read is JSON in ASCII; the fallback of the system's journal goes to the journal itself."""
    engine = Path(terminal.__file__).parent
    ours = [path for path in engine.glob("*.py") if not path.name.startswith("agent")]
    assert len(ours) > 50
    for path in sorted(ours):
        if path.name not in ("terminal.py", "journald.py"):
            assert re.findall(r"^\s*print\((?!json\.dumps\().*", path.read_text(), re.M) == [], path.name
