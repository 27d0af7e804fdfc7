# SPDX-License-Identifier: GPL-3.0-or-later
"""Random environment variables, and what systemd of a host makes of the file that holds them."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys

from ansible_collections.djdeploy.django.plugins.module_utils.engine import environment
from hosts import Machine

FILES, VALUES = 50, 200  # variables in one file: as many as no site has
LONGEST = 4000  # characters of a value

#: What a value is made of: what quoting is about, what blanks are about, and anything else.
QUOTING = "\"'\\$`#;=%{}()!&|<>~*?[]"
BLANKS = " \t\n\r\v\f"
CONTROL = "".join(map(chr, [*range(1, 32), 127, *range(128, 160)]))
UNICODE = "äßéñøłЖшאبहิ漢字かな한🐍👩\u200d💻\u0301\u00a0\u2028\u2029\ufeff\ufffd\U0010fffd"
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/@+"
#: What gave trouble to somebody once, whole.
KNOWN = (
    "", " ", "\n", "\\", '"', "'", "$", "$HOME", "${HOME}", "$$", "`id`", "#", "# no comment", "a#b", "; x", "a\\",
    "a\\\n", "\\n", "\\\\", '\\"', "'\"'", " leading", "trailing ", "\ttab\t", "a\nB=c", "\nA=b", "first\r\nsecond",
    "%h", "a=b",
    "-----BEGIN PRIVATE KEY-----\nMIIE/+==\n-----END PRIVATE KEY-----\n",
    '{"a": "b\\n"}', "\x01\x1f\x7f", "\x85", "é", "🐍",
)  # fmt: skip

PROGRAM = """\
import json, os, subprocess, sys, tempfile
show = ("import json, os;"
        "print(json.dumps({name.decode(): value.hex() for name, value in os.environb.items()}))")
found = []
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "env")
    for text in json.load(sys.stdin):
        with open(path, "w", newline="") as file:
            file.write(text)
        words = ["systemd-run", "--wait", "--pipe", "--quiet", "-p", "EnvironmentFile=" + path]
        found.append(json.loads(subprocess.check_output([*words, sys.executable, "-c", show])))
print(json.dumps(found))
"""


def value(chance: random.Random) -> str:
    """One value: a known bad one, or characters of one to four kinds, short more often than long."""
    if chance.random() < 0.1:
        return chance.choice(KNOWN)
    kinds = chance.sample((QUOTING, BLANKS, CONTROL, UNICODE, PLAIN), chance.randint(1, 4))
    length = chance.randint(0, chance.choice((4, 40, 400, LONGEST)))
    return "".join(chance.choice(chance.choice(kinds)) for _place in range(length))


def lost(machine: Machine, seed: int) -> list[str]:
    """The variables that systemd does not set as they were given, of FILES times VALUES.

    :param seed: the same one makes the same values.
    """
    chance = random.Random(seed)
    given = [{f"V{number}": value(chance) for number in range(VALUES)} for _file in range(FILES)]
    done = subprocess.run(
        machine.ssh_words("python3", "-c", shlex.quote(PROGRAM)),
        input=json.dumps([environment.serialize(each) for each in given]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise AssertionError(f"the host could not read the files back: {done.stderr[-500:]}")
    wrong = []
    for number, (wanted, found) in enumerate(zip(given, json.loads(done.stdout), strict=True)):
        for name, text in wanted.items():
            if found.get(name) != text.encode().hex():
                wrong.append(f"file {number} {name}: {text!r} came as {found.get(name)!r}")
            elif environment.parse(environment.serialize({name: text})) != {name: text}:
                wrong.append(f"file {number} {name}: our own reader has it otherwise: {text!r}")
    return wrong
