# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says reaches an untouched project, whichever way it is read; secrets are shown nowhere."""

from __future__ import annotations

import json

import pytest

ASK = (
    "import json, os; from django.conf import settings; "
    "print(json.dumps([os.environ['TOKEN'], os.environ['GREETING'], open(os.environ['SIGNING_KEY_FILE']).read(), "
    "open('.env').read(), open('plain_local/settings.py').read(), settings.CACHES['default']['LOCATION'], "
    "len(settings.ADMINS), settings.EMAIL_SUBJECT_PREFIX]))"
)
SIGN = "from django.core import signing; print(signing.dumps('me'))"
READ = "from django.core import signing; print(signing.loads('{}'))"


@pytest.fixture
def shell(site, server, status):
    """Python inside the site `plain`, as its user in its environment."""
    if status("plain")["state"] != "serving":
        pushed = site("plain").push()
        assert pushed.status == 0, pushed.output

    def run(code: str) -> str:
        return server.check_output("djdeploy manage plain shell -v 0 -c %s", code).strip().splitlines()[-1]

    return run


def test_values_and_files_are_there(shell):
    assert json.loads(shell(ASK)) == [
        'token-"hunter2" $(id) \\ end',
        "Hello $HOME",
        "-----BEGIN hunter3-----\nline\n",
        "A=hunter4\n",
        "B = 'hunter5'\n",
        "cache",
        1,
        "[plain] ",
    ]


def test_files_are_for_the_site_alone(shell, server):
    for path in ("/etc/djdeploy/sites/plain.secrets/SIGNING_KEY", "/srv/plain/current/code/.env"):
        assert (server.file(path).user, server.file(path).group, server.file(path).mode) == ("root", "plain", 0o640)
    assert server.file("/etc/djdeploy/sites/plain.files").mode == 0o600
    assert server.run("sudo -u notes cat /etc/djdeploy/sites/plain.secrets/SIGNING_KEY").rc != 0


def test_config_tells_all_but_secrets(shell, server):
    for words in ("djdeploy config plain", "djdeploy config plain --json"):
        assert "hunter" not in server.check_output(words)
    told = json.loads(server.check_output("djdeploy config plain --json"))
    assert told["variables"]["GREETING"] == {"value": "Hello $HOME", "secret": False, "origin": "env"}
    assert told["variables"]["TOKEN"]["origin"] == "secrets"
    assert told["choices"]["settings"]["value"].endswith(".settings")
    assert {"DEBUG", "SECRET_KEY", "DATABASES", "CACHES", "ADMINS"} <= set(told["replaced"])


def test_another_key_keeps_what_was_signed(shell, server):
    signed, key = shell(SIGN), "grep ^SECRET_KEY= /etc/djdeploy/sites/plain.env | sha256sum"
    before = server.check_output(key)
    said = server.check_output("djdeploy rotate-key plain")
    assert "before it stay valid" in said and "is live as" in said
    assert server.check_output(key) != before
    assert shell(READ.format(signed)) == "me"
