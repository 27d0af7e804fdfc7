# SPDX-License-Identifier: GPL-3.0-or-later
"""The step `info`, in real projects."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError

EVERYTHING = ["apps", "databases", "migrations", "settings", "static"]
ELSEWHERE = """
DATABASES["far"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nonexistent/x", "PASSWORD": "very-secret"}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://:very-secret@h"}}
PAYMENT = {"url": "https://ann:very-secret@example.com/", "api_key": "very-secret", "days": {3, 1}}
"""


def info(project: Any, *, check: bool = False, **options: Any) -> dict[str, Any]:
    before = project.contents()
    (result,) = project.run({"name": "info", **options}, check=check)
    assert project.contents() == before
    assert not result.changed
    assert "very-secret" not in repr(result)
    facts: dict[str, Any] = result.facts
    return facts


def test_by_default_no_database_is_opened(project: Any) -> None:
    project.settings("from django.db.backends.sqlite3 import base\nbase.DatabaseWrapper.connect = None")
    facts = info(project)
    assert facts["databases"]["default"]["vendor"] == "sqlite"
    assert "reachable" not in facts["databases"]["default"] and "migrations" not in facts
    assert (facts["debug"], facts["settings_module"], facts["user_model"]) == (True, "mysite.settings", "auth.User")
    apps = {app["label"]: app for app in facts["apps"]}
    assert (apps["shop"]["migrations"], apps["messages"]["migrations"]) == (True, False)
    assert apps["shop"]["path"] == str(project.root / "shop")


def test_nothing_is_gathered(project: Any) -> None:
    assert set(info(project, gather=[])) == {
        *("settings_values", "python", "django", "debug", "allowed_hosts", "settings_module", "databases")
    }


@pytest.mark.parametrize("check", [True, False])
def test_migrations(project: Any, check: bool) -> None:
    project.run({"name": "migrate", "app": "shop", "target": "0001"})
    facts = info(project, gather=["migrations"], check=check)
    assert facts["migrations"]["shop"] == {"applied": ["0001_initial"], "pending": ["0002_price"], "conflicts": []}
    assert "shop.0002_price" in facts["pending"] and facts["conflicts"] == []
    project.run({"name": "migrate"})
    assert info(project, gather=["migrations"], check=check)["pending"] == []


def test_migrations_of_a_file_that_is_still_to_be_made(project: Any) -> None:
    facts = info(project, gather=["databases", "migrations"])
    assert facts["databases"]["default"]["reachable"] is True
    assert facts["migrations"]["shop"]["pending"] == ["0001_initial", "0002_price"]


def test_later_steps_of_the_process_make_the_file(project: Any) -> None:
    both = {"name": "info", "gather": ["databases", "migrations"]}
    _info, migrated, after = project.run(both, {"name": "migrate"}, both)
    assert migrated.changed and after.facts["pending"] == []
    assert info(project, gather=["migrations"])["pending"] == []


def test_conflicting_migrations(project: Any) -> None:
    project.run({"name": "migrate"})
    text = (project.root / "shop/migrations/0002_price.py").read_text()
    project.write("shop/migrations/0002_other.py", text)
    facts = info(project, gather=["migrations"])
    assert facts["conflicts"] == ["shop"] and facts["pending"] == ["shop.0002_other"]
    assert facts["migrations"]["shop"]["conflicts"] == ["0002_other", "0002_price"]


def test_database_that_is_not_there_leaves_the_rest_answered(project: Any) -> None:
    project.settings(ELSEWHERE)
    facts = info(project, gather=EVERYTHING, database="far")
    assert facts["databases"]["far"]["reachable"] is False
    assert "unable to open database file" in facts["databases"]["far"]["reason"]
    assert facts["migrations"]["shop"] == {"applied": None, "pending": None, "conflicts": []}
    assert facts["pending"] is None
    assert facts["caches"] == {"default": "django.core.cache.backends.redis.RedisCache"}


def test_database_that_refuses(project: Any) -> None:
    project.write("db.sqlite3", "no database at all, and long enough to look at" * 30)
    project.settings("DATABASES['default']['OPTIONS'] = {'init_command': 'SELECT * FROM nosuch'}")
    facts = info(project, gather=["databases"])
    assert facts["databases"]["default"]["reachable"] is False and facts["databases"]["default"]["reason"]


def test_database_that_answers(project: Any) -> None:
    project.run({"name": "migrate"})
    facts = info(project, gather=["databases"])
    assert facts["databases"]["default"]["reachable"] is True
    assert facts["databases"]["default"]["version"].startswith("3.")


def test_values_of_settings(project: Any) -> None:
    project.settings(ELSEWHERE)
    values = info(project, settings_values=["TIME_ZONE", "PAYMENT", "BASE_DIR", "DATABASES"])["settings_values"]
    assert values["TIME_ZONE"] == "UTC" and values["BASE_DIR"] == str(project.root)
    assert values["PAYMENT"]["url"] == "https://example.com/" and values["PAYMENT"]["days"] == [1, 3]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings_values": ["SECRET_KEY"]}, "SECRET_KEY looks like a secret"),
        ({"settings_values": ["NOSUCH"]}, "no setting 'NOSUCH'"),
        ({"settings_values": ["configure"]}, "no setting 'configure'"),
        ({"gather": ["users"]}, "there is no 'users'"),
        ({"gather": ["migrations"], "database": "archive"}, "no database 'archive'"),
    ],
)
def test_info_is_refused(project: Any, options: dict[str, Any], message: str, check: bool) -> None:
    with pytest.raises(StepError, match=message):
        info(project, check=check, **options)


MAILERS = 'MAILERS = {"default": {"BACKEND": "mail.Console"}}\n'
LOCMEM = 'EMAIL_BACKEND = "mail.Locmem"\n'


@pytest.mark.parametrize(("settings", "backend"), [(MAILERS, "mail.Console"), (LOCMEM, "mail.Locmem")])
def test_how_mail_is_sent_in_the_words_of_old_and_new_django(project: Any, settings: str, backend: str) -> None:
    project.settings(settings)
    assert info(project, gather=["settings"])["email_backend"] == backend
