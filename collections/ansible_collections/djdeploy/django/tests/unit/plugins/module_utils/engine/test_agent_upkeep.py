# SPDX-License-Identifier: GPL-3.0-or-later
"""Cache tables, sessions and Sites: what is predicted is what is done, and then nothing is left to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError, StepResult

DATABASE_CACHE = '{"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "%s"}'
CACHES = f"CACHES = {{'default': {DATABASE_CACHE % 'shop_cache'}, 'slow': {DATABASE_CACHE % 'slow_cache'}}}"
ROUTER = """
class Router:
    def allow_migrate(self, db, app_label, **hints):
        return app_label not in ("django_cache", "sites")
"""
MAKE_SESSIONS = """
from datetime import timedelta
from importlib import import_module
from django.conf import settings
Store = import_module(settings.SESSION_ENGINE).SessionStore
for number in range(5):
    store = Store()
    store["number"] = number
    store.set_expiry(timedelta(seconds=-60 if number < 3 else 3600))
    store.create()
"""


def shell(project: Any, lines: str) -> None:
    project.run({"name": "command", "argv": ["shell", "-c", lines]})


def proven(project: Any, step: dict[str, Any]) -> StepResult:
    """Predict, run, run again; the run's result."""
    untouched = project.contents()
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


def test_cache_tables_of_the_settings(project: Any) -> None:
    project.settings(CACHES)
    project.run({"name": "migrate"}, {"name": "createcachetable", "tables": ["slow_cache"]})
    done = proven(project, {"name": "createcachetable"})
    assert done.before == ["slow_cache"] and done.after == ["shop_cache", "slow_cache"]
    assert done.facts["created"] == ["shop_cache"]
    assert 'CREATE TABLE "shop_cache"' in done.diff["after"] and "slow_cache" not in done.diff["after"]
    shell(project, "from django.core.cache import cache; cache.set('a', 1); assert cache.get('a') == 1")


def test_cache_tables_before_the_first_migrate(project: Any) -> None:
    assert proven(project, {"name": "createcachetable", "tables": ["one", "one"]}).after == ["one"]


def test_cache_tables_that_are_not_wanted(project: Any) -> None:
    (result,) = project.run({"name": "createcachetable"})
    assert not result.changed and "no cache of CACHES" in result.facts["reason"]
    project.write("routing.py", ROUTER)
    project.settings(f"{CACHES}\nDATABASE_ROUTERS = ['routing.Router']")
    (result,) = project.run({"name": "createcachetable"})
    assert not result.changed and result.facts["skipped"] == ["shop_cache", "slow_cache"]


@pytest.mark.parametrize("check", [True, False])
def test_a_table_that_is_no_cache_table(project: Any, check: bool) -> None:
    project.run({"name": "migrate"})
    error = refused(project, {"name": "createcachetable", "tables": ["new", "shop_product"]}, check=check)
    assert error.message == "the table 'shop_product' of the database 'default' is not a cache table"


def test_cache_table_in_an_unknown_database(project: Any) -> None:
    assert "no database 'cache'" in refused(project, {"name": "createcachetable", "database": "cache"}).message


@pytest.mark.parametrize("engine", ["db", "cached_db", "file"])
def test_expired_sessions(project: Any, engine: str) -> None:
    (project.root / "kept").mkdir()
    project.write("kept/unrelated", "")
    project.settings(f"SESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'")
    project.settings("SESSION_FILE_PATH = str(BASE_DIR / 'kept')")
    project.run({"name": "migrate"})
    shell(project, MAKE_SESSIONS)
    done = proven(project, {"name": "clearsessions"})
    assert done.before == {"expired": 3} and done.after == {"expired": 0} and done.facts["removed"] == 3
    if engine == "file":
        assert len(list((project.root / "kept").iterdir())) == 2 + 1
    else:
        with sqlite3.connect(project.root / "db.sqlite3") as database:
            assert database.execute("SELECT count(*) FROM django_session").fetchone() == (2,)


@pytest.mark.parametrize("engine", ["cache", "signed_cookies"])
def test_sessions_that_expire_by_themselves(project: Any, engine: str) -> None:
    project.settings(f"SESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'")
    (result,) = project.run({"name": "clearsessions"})
    assert not result.changed and "expire by themselves" in result.facts["reason"]


def test_sessions_of_a_foreign_engine(project: Any) -> None:
    text = "from django.contrib.sessions.backends.base import SessionBase\nclass SessionStore(SessionBase): pass\n"
    project.write("shop/kept.py", text)
    project.settings("SESSION_ENGINE = 'shop.kept'")
    (result,) = project.run({"name": "clearsessions"})
    assert not result.changed and "cannot be counted" in result.facts["reason"]


def without_sessions(project: Any) -> None:
    project.settings("INSTALLED_APPS = ['shop']")


def with_an_engine_that_is_none(project: Any) -> None:
    project.settings("SESSION_ENGINE = 'shop.nothing'")


def with_a_directory_that_is_none(project: Any) -> None:
    project.settings("SESSION_ENGINE = 'django.contrib.sessions.backends.file'\nSESSION_FILE_PATH = '/nonexistent'")


@pytest.mark.parametrize(
    ("prepare", "kind", "said"),
    [
        (lambda project: None, "database", "the table 'django_session' does not exist yet"),
        (without_sessions, "settings", "their app is not in INSTALLED_APPS"),
        (with_an_engine_that_is_none, "settings", "there is no session engine 'shop.nothing'"),
        (with_a_directory_that_is_none, "settings", "'/nonexistent' doesn't exist"),
    ],
)
def test_sessions_that_cannot_be_cleared(project: Any, prepare: Callable[[Any], None], kind: str, said: str) -> None:
    prepare(project)
    error = refused(project, {"name": "clearsessions"})
    assert error.kind == kind and said in error.message


def test_no_sessions_before_the_first_migrate(project: Any) -> None:
    (result,) = project.run({"name": "clearsessions"}, check=True)
    assert not result.changed and not os.path.exists(project.root / "db.sqlite3")


def with_sites(project: Any, number: str = "SITE_ID = 1") -> None:
    project.settings(f"INSTALLED_APPS += ['django.contrib.sites']\n{number}")


def test_the_site_migrate_made_is_changed_in_place(project: Any) -> None:
    with_sites(project)
    step = {"name": "sites", "domain": "shop.example.com"}
    (early,) = project.run(step, check=True)
    project.run({"name": "migrate"})
    done = proven(project, step)
    assert (early.before, early.after, early.diff) == (done.before, done.after, done.diff)
    assert done.before == {"id": 1, "domain": "example.com", "name": "example.com"}
    assert done.after == {"id": 1, "domain": "shop.example.com", "name": "shop.example.com"}
    assert not done.facts["created"]


def test_a_site_that_is_missing(project: Any) -> None:
    with_sites(project)
    project.run({"name": "migrate"})
    done = proven(project, {"name": "sites", "id": 7, "domain": "blog.example.com", "label": "The blog"})
    assert done.before is None and done.facts["created"]
    assert done.after == {"id": 7, "domain": "blog.example.com", "name": "The blog"}
    done = proven(project, {"name": "sites", "id": 7, "domain": "news.example.com"})
    assert done.after == {"id": 7, "domain": "news.example.com", "name": "The blog"}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"id": 2, "domain": "EXAMPLE.com"}, "the domain 'EXAMPLE.com' is that of the Site 1, not of the Site 2"),
        ({"domain": "https://shop.example.com"}, "'https://shop.example.com' is not a domain"),
        ({"domain": "shop example.com"}, "domain: The domain name cannot contain any spaces or tabs."),
        ({"domain": ""}, "domain: This field cannot be blank."),
        ({"domain": "shop.example.com", "label": "x" * 51}, "name: Ensure this value has at most 50 characters"),
        ({"domain": "shop.example.com", "database": "other"}, "there is no database 'other'"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_values_a_site_does_not_take(project: Any, step: dict[str, Any], said: str, check: bool) -> None:
    with_sites(project)
    project.run({"name": "migrate"})
    assert said in refused(project, {"name": "sites", **step}, check=check).message


def with_a_router(project: Any) -> None:
    project.write("routing.py", ROUTER)
    with_sites(project, "SITE_ID = 1\nDATABASE_ROUTERS = ['routing.Router']")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda project: None, "django.contrib.sites is not in INSTALLED_APPS"),
        (lambda project: with_sites(project, ""), "SITE_ID is not set"),
        (with_sites, "the table 'django_site' does not exist yet"),
        (with_a_router, "the routers keep Sites out of the database 'default'"),
    ],
)
def test_projects_without_sites(project: Any, prepare: Callable[[Any], None], said: str) -> None:
    prepare(project)
    assert said in refused(project, {"name": "sites", "domain": "shop.example.com"}).message
