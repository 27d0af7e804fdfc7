# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes that fail while they tell all they know, and how a canary is found in whatever form it was told."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import projects
import yaml

CANARIES = Path(__file__).resolve().parents[2] / "inventory/group_vars/all/canaries.yml"
TOKEN = re.compile(r"c4n4ry-?\d\d-?[0-9a-f]{4}")

# In the project: everything its processes can read of the site's secrets, each in many forms on lines of their own.
# No line of it holds a canary; TELLING is how a test knows that it was told.
LEAK = """\
import base64, html, json, os, pathlib, re, shlex, subprocess, sys, urllib.parse

BASE = pathlib.Path(__file__).resolve().parent


def values():
    found = dict(os.environ)
    for name, place in list(found.items()):
        if name.endswith("_FILE"):
            try:
                found[name + "_TEXT"] = open(place).read()
            except OSError:
                pass
    for name in (".env", "mysite/local_canary.py"):
        try:
            found[name] = (BASE / name).read_text()
        except OSError:
            pass
    try:
        found["pin"] = json.loads(found["JSON_OF_IT"])["list"][0]
        found["key"] = json.loads(found["ACCOUNT_FILE_TEXT"])["private_key"]
    except (KeyError, ValueError):
        pass
    return {name: value for name, value in found.items() if name not in ("PATH", "PYTHONPATH", "HOME")}


def escaped(pattern, text):
    return re.sub(pattern, lambda found: "\\\\u%04x" % ord(found[0]), text)


def forms(value):
    data = value.encode("utf-8", "surrogateescape")
    component = urllib.parse.quote(value, safe="-_.!~*'()")
    return [
        repr(value), repr(repr(value)), repr(data), ascii(value), json.dumps(value),
        json.dumps({"a": json.dumps(value)}), urllib.parse.quote(value), urllib.parse.quote_plus(value),
        html.escape(value), shlex.quote(value), base64.b64encode(data).decode(),
        base64.b64encode(b"u:" + data).decode(), base64.urlsafe_b64encode(data).decode(), data.hex(), value,
        component, re.sub("%..", lambda found: found[0].lower(), component),
        urllib.parse.quote(value, safe="-_.!~*'();/?:@&=+$,#"), html.escape(value, quote=False),
        html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        html.escape(json.dumps(value)), escaped("[<>&]", json.dumps(value)),
        escaped("[<>&]", json.dumps({"a": json.dumps(value)}, ensure_ascii=False)),
        "".join("\\\\%03o" % byte if byte < 48 or byte > 126 else chr(byte) for byte in data),
    ]


BY_BASH = '''
set
export -p
for name in ${!value_*}; do printf '%q %s\\\\n' "${!name}" "${!name@Q}"; done
set -x
for name in ${!value_*}; do : "${!name}" behind; [[ ${!name} == x ]]; done
true
'''


def said_by_bash(chosen):
    given = {"PATH": "/usr/bin:/bin", **{"value_%d" % n: chosen[name] for n, name in enumerate(sorted(chosen))}}
    done = subprocess.run(
        ["bash", "-c", BY_BASH], env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
        encoding="utf-8", errors="replace",
    )
    return done.stdout.splitlines()


def said(names=None):
    chosen = values()
    lines = [f"TELLING {name} {form}" for name in sorted(chosen) for form in forms(chosen[name])]
    lines += [f"TELLING by bash {line}" for line in said_by_bash(chosen)]
    return "\\n".join(lines) + "\\nTELLING the end"


def tell():
    text = said()
    print(text)
    print(text, file=sys.stderr)
    os.write(2, text.encode("utf-8", "replace") + b"\\n")
    half = len(text) // 2
    sys.stderr.write(text[:half])
    sys.stderr.flush()
    sys.stderr.write(text[half:] + "\\n")
"""

SETTINGS, WSGI, URLS = "mysite/settings.py", "mysite/wsgi.py", "notes/urls.py"
IN_SETTINGS = "\nimport sys, os\nsys.path.insert(0, str(BASE_DIR))\nimport leak\n"
SERVING = "\nimport os, sys, leak\nif 'gunicorn' in sys.modules:\n    "
APPS = "\n\n_ready = NotesConfig.ready\n\ndef ready(self):\n    import leak\n    {}\n\nNotesConfig.ready = ready\n"
CHECK = (
    "import leak\nfrom django.core import checks\n\n"
    "@checks.register\ndef telling(**_):\n    return [checks.Error(leak.said(), hint=leak.said(), id='notes.E1')]\n"
)
MIGRATION = """\
from django.db import migrations

import leak


def run(apps, schema_editor):
    {}


class Migration(migrations.Migration):
    djdeploy = "additive"
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.RunPython(run, migrations.RunPython.noop)]
"""
SQL = MIGRATION.replace(
    "migrations.RunPython(run, migrations.RunPython.noop)",
    "migrations.RunSQL([('DO $do$ BEGIN RAISE EXCEPTION USING MESSAGE = $told$'"
    " + leak.said().encode('utf-8', 'replace').decode() + '$told$; END $do$', None)])",
).replace("{}", "pass")
STORAGE = """\
import leak
from django.contrib.staticfiles.storage import StaticFilesStorage


class Telling(StaticFilesStorage):
    def post_process(self, *args, **options):
        leak.tell()
        raise ValueError(leak.said())
"""
SETUP = """\
import json, os, sys
text = "\\n".join(f"TELLING {name} {value!r} {json.dumps(value)} {value}" for name, value in os.environ.items())
print(text)
print(text, file=sys.stderr)
raise RuntimeError(text + "\\nTELLING the end")
"""
BACKEND = SETUP.replace("raise RuntimeError", "sys.exit")
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "telling"\nbackend-path = ["."]\n'
TELL = "env; cat .env mysite/local_canary.py $SIGNING_KEY_FILE $ACCOUNT_FILE; bash -c 'set; set -x; : $PLAIN $SINGLE'"
TELL += "; echo TELLING"


class Kind(NamedTuple):
    """A push that fails.

    :param files: what is added to files of the project (made where they are not there).
    :param every_run: whether it is a sample.
    :param parts: what must not be seen of a canary either.
    """

    files: dict[str, str]
    every_run: bool = False
    parts: tuple[str, ...] = ()


KINDS = {
    "settings raise": Kind({SETTINGS: IN_SETTINGS + "leak.tell()\nraise RuntimeError(leak.said())\n"}, True),
    "settings print and die": Kind({SETTINGS: IN_SETTINGS + "leak.tell()\nos._exit(3)\n"}),
    "settings leave": Kind({SETTINGS: IN_SETTINGS + "sys.exit(leak.said())\n"}),
    "badly configured": Kind(
        {
            SETTINGS: IN_SETTINGS
            + "from django.core.exceptions import ImproperlyConfigured\nraise ImproperlyConfigured(leak.said())\n"
        }
    ),
    "a key of a dict": Kind({SETTINGS: IN_SETTINGS + "{}[leak.said()]\n"}),
    "warns and logs": Kind(
        {
            SETTINGS: IN_SETTINGS
            + "import warnings, logging\nwarnings.warn(leak.said())\nlogging.error('%r', leak.said())\n"
            + "raise KeyError('TELLING ' + repr(leak.values()))\n"
        }
    ),
    "exceptions of exceptions": Kind(
        {
            SETTINGS: IN_SETTINGS
            + "try:\n    raise OSError(leak.said())\n"
            + "except OSError as error:\n    raise ValueError(repr(error)) from error\n"
        }
    ),
    "the file does not parse": Kind(
        {SETTINGS: IN_SETTINGS + "exec((BASE_DIR / '.env').read_text() + '\\nTELLING (')\n"}
    ),
    "a check": Kind({"notes/checks.py": CHECK, "notes/apps.py": APPS.format("from . import checks")}),
    "an app is not ready": Kind({"notes/apps.py": APPS.format("leak.tell(); raise ValueError(leak.said())")}),
    "no URLs": Kind({URLS: "\nimport leak\nleak.tell()\nraise ValueError(leak.said())\n"}),
    "a release dies at its start": Kind(
        # With its master: gunicorn's own traceback would be all that is quoted.
        {WSGI: SERVING + "sys.stderr.write(leak.said() + chr(10)); sys.stderr.flush(); os.kill(os.getppid(), 9)\n"},
        True,
    ),
    "a line that journald cuts in a secret": Kind(  # LineMax= of journald.conf(5)
        {
            WSGI: SERVING
            + "sys.stderr.write('TELLING' + chr(10) + 'q' * (48 * 1024 - 7) + os.environ['PLAIN'] + chr(10)); "
            "sys.stderr.flush(); os.kill(os.getppid(), 9)\n"
        },
        parts=("qc4n4ry", "01-a1b2"),
    ),
    "a release raises at its start": Kind({WSGI: SERVING + "raise RuntimeError(leak.said())\n"}),
    "the health page": Kind(
        {
            "notes/views.py": "\n\ndef front(request):\n    import leak\n"
            "    leak.tell()\n    raise ValueError(leak.said())\n"
        }
    ),
    "a migration": Kind(
        {"notes/migrations/0002_tell.py": MIGRATION.format("leak.tell(); raise ValueError(leak.said())")}
    ),
    "SQL": Kind({"notes/migrations/0002_tell.py": SQL}),
    "static files": Kind(
        {
            "notes/storage.py": STORAGE,
            SETTINGS: '\nSTORAGES["staticfiles"] = {"BACKEND": "notes.storage.Telling"}\n',
        }
    ),
    "the release command": Kind({"Procfile": f"release: {TELL}; exit 3\n"}, True),
    "setup.py of a package": Kind(
        {"telling/setup.py": SETUP, "telling/README": "x", "requirements.txt": "./telling\n"}, True
    ),
    "the backend of a package": Kind(
        {"telling/pyproject.toml": PYPROJECT, "telling/telling.py": BACKEND, "requirements.txt": "./telling\n"}
    ),
}


def prepare(project: Path) -> None:
    """Put what the kinds use into a project, and commit it."""
    projects.write(project, "leak.py", LEAK)
    projects.commit(project, "Be able to tell")


def tokens() -> list[str]:
    """What stands in the canaries, each once."""
    given = yaml.safe_load(CANARIES.read_text())
    assert sum(len(group) for group in given.values()) + 3 >= 29, "files hold several"
    found = sorted(set(TOKEN.findall(CANARIES.read_text())))
    assert len({token.replace("-", "")[6:8] for token in found}) == 30
    return found


def traces() -> list[str]:
    """What a canary looks like in any form: letters, digits and dashes are escaped by none but base64 and hex."""
    found: list[str] = []
    for token in tokens():
        data = token.encode()
        found += [token, data.hex(), data.hex().upper()]
        for before in range(3):
            text = b64encode(bytes(before) + data).decode()
            found.append(text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    return found


def seen_in(text: str, known: Callable[[], list[str]] = traces) -> list[str]:
    """The canaries in a text, each with what stands around it."""
    return [text[max(0, text.index(each) - 60) : text.index(each) + 60] for each in known() if each in text]
