# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling translations: what is predicted is what is done, and then nothing is left to do.

Where gettext is not installed, the same tests see the one clear line that says so.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent_static, static_files
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError, StepResult

GETTEXT = shutil.which("msgfmt") is not None
HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
GERMAN = HEADER + 'msgid "price"\nmsgstr "Preis"\n\n#, fuzzy\nmsgid "shop"\nmsgstr "Geschäft"\n'
FRENCH = HEADER + 'msgid "price"\nmsgstr "prix"\n'
DE, FR = (f"locale/{code}/LC_MESSAGES/django" for code in ("de", "pt_BR"))
OWN = "shop/locale/de/LC_MESSAGES/django"
STEP = {"name": "compilemessages"}


@pytest.fixture
def translated(project: Any) -> Any:
    for name, text in {DE: GERMAN, FR: FRENCH, OWN: FRENCH}.items():
        project.write(f"{name}.po", text)
    return project


def proven(project: Any, step: dict[str, Any]) -> StepResult | None:
    """Predict, run, run again; the run's result, or nothing where there is no compiler."""
    untouched = project.contents()
    if not GETTEXT:
        for check in (True, False):
            error = refused(project, step, check=check)
            assert error.message == "msgfmt is not installed: translations cannot be compiled"
            assert "the Debian package gettext" in error.hint
        return None
    (predicted,) = project.run(step, check=True)
    assert project.contents() == untouched, "check mode changed a file"
    (done,) = project.run(step)
    (again,) = project.run(step)
    assert done.changed
    assert (predicted.changed, predicted.before, predicted.after) == (done.changed, done.before, done.after)
    assert (predicted.diff, predicted.facts) == (done.diff, done.facts)
    assert not again.changed and again.diff["before"] == again.diff["after"]
    return done


def refused(project: Any, step: dict[str, Any], *, check: bool = False) -> StepError:
    untouched = project.contents()
    with pytest.raises(StepError) as caught:
        project.run(step, check=check)
    assert project.contents() == untouched
    assert "\n" not in caught.value.message
    return caught.value


def test_all_translations(translated: Any) -> None:
    if done := proven(translated, STEP):
        assert done.before == {"current": 0, "outdated": 0, "missing": 3}
        assert done.facts == {"compiled": [f"{name}.mo" for name in (DE, FR, OWN)], "unmodified": 0}
        lines = "import gettext; print(gettext.translation('django', 'locale', ['de']).gettext('price'))"
        (shown,) = translated.run({"name": "command", "argv": ["shell", "-c", lines]})
        assert shown.stdout.strip().endswith("Preis")


def test_content_counts_and_not_time(translated: Any) -> None:
    if proven(translated, STEP):
        os.utime(translated.root / f"{DE}.mo", (0, 0))
        assert not translated.run(STEP)[0].changed
        (translated.root / f"{FR}.mo").write_bytes(b"of another time")
        done = proven(translated, STEP)
        assert done is not None and done.before == {"current": 2, "outdated": 1, "missing": 0}
        assert done.facts["compiled"] == [f"{FR}.mo"]


def test_fuzzy_translations(translated: Any) -> None:
    if proven(translated, STEP):
        done = proven(translated, {**STEP, "use_fuzzy": True})
        assert done is not None and done.facts["compiled"] == [f"{DE}.mo"]


@pytest.mark.parametrize(
    ("options", "compiled"),
    [
        ({"locales": ["pt_BR"]}, [FR]),
        ({"exclude": ["de"]}, [FR]),
        ({"ignore": ["shop"]}, [DE, FR]),
        ({"locales": ["de"], "ignore": ["shop*"]}, [DE]),
    ],
)
def test_some_translations(translated: Any, options: dict[str, Any], compiled: list[str]) -> None:
    if done := proven(translated, {**STEP, **options}):
        assert done.facts["compiled"] == [f"{name}.mo" for name in compiled]


def test_locale_paths_are_read_and_the_virtual_environment_is_not(translated: Any, tmp_path: Path) -> None:
    translated.settings(
        f"LOCALE_PATHS = [{str(tmp_path / 'words')!r}]\nimport sys; sys.prefix = str(BASE_DIR / 'shop')"
    )
    translated.write("../words/de/LC_MESSAGES/django.po", GERMAN)
    if done := proven(translated, {**STEP, "locales": ["de"]}):
        assert done.facts["compiled"] == sorted([str(tmp_path / "words/de/LC_MESSAGES/django.mo"), f"{DE}.mo"])


def test_a_file_with_an_error(translated: Any) -> None:
    translated.write(f"{FR}.po", HEADER + 'msgid "price"\nmsgstr "prix\n')
    if not GETTEXT:
        proven(translated, STEP)
        return
    for check in (True, False):
        error = refused(translated, STEP, check=check)
        assert error.kind == "file" and f"{FR}.po:6: " in error.message


def test_a_file_with_a_byte_order_mark(translated: Any) -> None:
    translated.write(f"{FR}.po", "\ufeff" + FRENCH)
    if GETTEXT:
        assert f"{FR}.po:1: it begins with a byte order mark" in refused(translated, STEP).message


def test_a_directory_that_is_not_writable(translated: Any) -> None:
    translated.settings("import os; os.access = lambda path, mode, **options: not mode & os.W_OK")
    error = refused(translated, STEP)
    assert ("not writable" if GETTEXT else "not installed") in error.message


def test_a_host_without_gettext(translated: Any) -> None:
    translated.env["PATH"] = "/nonexistent"
    error = refused(translated, STEP)
    assert error.message == "msgfmt is not installed: translations cannot be compiled"
    assert "the Debian package gettext" in error.hint


def test_a_locale_that_is_nowhere(translated: Any) -> None:
    error = refused(translated, {**STEP, "locales": ["de", "pt-br"]})
    assert error.message == "there is no locale pt-br" and error.hint.startswith("there are: de, pt_BR;")


def test_nothing_to_compile(project: Any) -> None:
    (result,) = project.run(STEP)
    assert not result.changed and "there is no .po file" in result.facts["reason"]


# --- compress: django-compressor stands in as a package of the project's ---------------------------------------

COMPRESSOR = {
    "compressor/__init__.py": "",
    "compressor/management/__init__.py": "",
    "compressor/management/commands/__init__.py": "",
    "compressor/management/commands/compress.py": """
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
class Command(BaseCommand):
    def handle(self, **options):
        if settings.SAYS:
            raise CommandError(settings.SAYS)
""",
    "compressor/cache.py": "def get_offline_manifest(): return {'a': 1, 'b': 2}",
    "compressor/storage.py": """
from django.conf import settings
class Storage:
    def path(self, name):
        if settings.FAR:
            raise NotImplementedError
        return name
default_storage = Storage()
""",
}
OFFLINE = "INSTALLED_APPS = [*INSTALLED_APPS, 'compressor']\nCOMPRESS_ENABLED = True\nSAYS, FAR = '', False\n"


@pytest.mark.parametrize(
    ("settings", "compressed", "reason"),
    [
        ("", 0, "compressor is not in INSTALLED_APPS"),
        (OFFLINE, 0, "COMPRESS_OFFLINE is not set"),
        (OFFLINE + "COMPRESS_OFFLINE = True", 2, None),
        (OFFLINE + "COMPRESS_OFFLINE = True\nCOMPRESS_ENABLED = False", 0, "COMPRESS_OFFLINE is not set"),
        (OFFLINE + "COMPRESS_OFFLINE = FAR = True", 0, "COMPRESS_STORAGE is not on this host"),
        (OFFLINE + "COMPRESS_OFFLINE = True\nSAYS = 'No templates found. Look'", 0, "No templates found. Look"),
    ],
)
def test_compress(project: Any, settings: str, compressed: int, reason: str | None) -> None:
    for name, text in COMPRESSOR.items():
        project.write(name, text)
    project.settings(settings)
    (done,) = project.run({"name": "compress"})
    assert done.facts["compressed"] == compressed and done.facts.get("reason") == reason
    assert done.changed is bool(compressed)


def test_compress_that_fails(project: Any) -> None:
    for name, text in COMPRESSOR.items():
        project.write(name, text)
    project.settings(OFFLINE + "COMPRESS_OFFLINE = True\nSAYS = 'rendering front.html: no file'")
    error = refused(project, {"name": "compress"})
    assert error.message == "manage.py compress: rendering front.html: no file" and "build: []" in error.hint


def test_files_shared_with_the_release_before_are_collected(project: Any) -> None:
    """collectstatic goes by times: what a release shares with the one before must not look older than its source."""
    step, collected = {"name": "collectstatic"}, project.root / "collected"
    project.run(step)
    before = collected.rename(project.root / "before")
    for file in before.rglob("*.*"):
        os.utime(file, (1, 1))
    project.run(step)
    assert static_files.finish(collected, before).linked
    (again,) = project.run(step, check=True)
    assert not again.changed, again.diff


# --- files that came in STATIC_ROOT ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "collected", "expected"),
    [
        (["vite/.vite/manifest.json", "vite/app.js"], set(), ["vite/.vite/manifest.json", "vite/app.js"]),
        (["app.css", "built.js"], {"app.css"}, ["built.js"]),
        (["app.0123456789ab.css", "LICENSE.0123456789ab"], {"app.css", "LICENSE"}, []),
        (["app.css.gz", "app.css.br", "app.0123456789ab.css.gz"], {"app.css"}, []),
        (["app.0123456789ab.css"], {"other.css"}, ["app.0123456789ab.css"]),
        (["staticfiles.json", "in/staticfiles.json"], set(), ["in/staticfiles.json"]),
        (["built.js", "shop/models.py"], set(), []),
        ([".env", ".git/config", ".htpasswd", "a/.gitignore"], set(), []),
    ],
    ids=["built", "collected", "digests", "compressed", "built with a digest", "manifest", "a project", "hidden"],
)
def test_what_of_a_static_root_is_left_over(there: list[str], collected: set[str], expected: list[str]) -> None:
    assert agent_static.left_over(there, collected, "staticfiles.json") == expected


def test_collectstatic_of_a_release_takes_what_came_in_static_root(project: Any) -> None:
    built, collected = project.root / "built", project.root / "collected"
    project.write("built/vite/app.js", "the front end")
    project.write("built/shop/site.css", "of an earlier time")
    project.write("shop/static/shop/site.css", "of now")
    project.settings(f"DJDEPLOY_STATIC_BROUGHT = {str(built)!r}\nSTATIC_ROOT = {str(collected)!r}")
    (done,) = project.run({"name": "collectstatic", "local_only": True})
    assert (collected / "vite/app.js").read_text() == "the front end"
    assert (collected / "shop/site.css").read_text() == "of now"
    assert done.facts["brought"] == 1
    (again,) = project.run({"name": "collectstatic"})
    assert "brought" not in again.facts
