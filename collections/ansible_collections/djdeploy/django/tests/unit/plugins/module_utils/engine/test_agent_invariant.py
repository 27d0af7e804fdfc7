# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever state a project is in: what a step predicts is what it does, and then nothing is left to do."""

from __future__ import annotations

import random
from typing import Any

import pytest

Step = dict[str, Any]
# Seeds; each is a state of its own, in which every step is tried.
ROUNDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 24))]
FIXTURE = '[{"model": "shop.product", "pk": %d, "fields": {"name": "%s", "price": %d}}]'
SETTINGS = """
INSTALLED_APPS += ["django.contrib.sites"]
SITE_ID = 1
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "first"},
    "other": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "second"},
}
"""
SESSIONS = """
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.utils import timezone
for number in range({count}):
    when = timezone.now() + timedelta(days=1 if number % 2 else -1)
    Session.objects.create(session_key=str(number), session_data="", expire_date=when)
"""
PEOPLE, GROUPS = ("ann", "bea", "carl"), ("editors", "sellers")
PERMISSIONS = ("shop.add_product", "shop.change_product", "auth.view_user")


def some(chance: random.Random, things: tuple[str, ...]) -> list[str]:
    return chance.sample(things, chance.randint(0, len(things)))


def a_group(chance: random.Random) -> Step:
    step: Step = {"name": "group", "group": chance.choice(GROUPS), "append": chance.random() < 0.5}
    return step | ({"permissions": some(chance, PERMISSIONS)} if chance.random() < 0.7 else {})


def a_user(chance: random.Random) -> Step:
    step: Step = {"name": "user", "username": chance.choice(PEOPLE), "append": chance.random() < 0.5}
    flags = {flag: chance.random() < 0.5 for flag in some(chance, ("active", "staff", "superuser"))}
    optional = {
        "password": chance.choice(("one-long-secret", "two-long-secret")),
        "update_password": chance.choice(("always", "on_create")),
        "email": chance.choice(("a@EXAMPLE.com", "b@example.com")),
        "fields": {"first_name": chance.choice(("", "Ann"))},
    }
    return step | flags | {name: value for name, value in optional.items() if chance.random() < 0.5}


def world(chance: random.Random) -> list[Step]:
    """Steps that bring a project into some state; those before the migration may not be there."""
    steps: list[Step] = [{"name": "migrate"}]
    steps += [a_group(chance) for _number in range(chance.randint(0, 3))]
    steps += [a_user(chance) for _number in range(chance.randint(0, 4))]
    steps += [{"name": "shell", "code": SESSIONS.format(count=chance.randint(0, 5))}]
    steps += [{"name": "loaddata", "fixtures": ["given"]}] if chance.random() < 0.5 else []
    steps += [{"name": "createcachetable", "tables": ["first"]}] if chance.random() < 0.5 else []
    steps += [{"name": "collectstatic"}] if chance.random() < 0.5 else []
    steps += [{"name": "migrate", "app": "shop", "target": "0001"}] if chance.random() < 0.3 else []
    return steps


def tasks(chance: random.Random) -> list[Step]:
    """Every step that has a state to compare, with options of its own."""
    present = {"state": "present"} if chance.random() < 0.6 else {"state": "absent"}
    found: list[Step] = [
        {"name": "createcachetable"},
        {"name": "clearsessions"},
        {"name": "sites", "domain": chance.choice(("example.com", "shop.example.com"))},
        {"name": "collectstatic", "ignore": chance.choice(([], ["*.js"]))},
        {"name": "superuser", "username": chance.choice(PEOPLE)},
        a_user(chance) | present,
        a_group(chance) | present,
        {"name": "migrate"},
        {"name": "loaddata", "fixtures": ["given"]},
        {"name": "dumpdata", "dest": "dump.json", "apps": ["auth", "shop"]},
        {"name": "migrate", "app": "shop", "target": chance.choice(("zero", "0001"))},
        {"name": "flush", "confirm": "default"},
    ]
    return found


@pytest.mark.parametrize("seed", ROUNDS)
def test_prediction_is_what_happens(project: Any, seed: int) -> None:
    chance = random.Random(seed)
    project.settings(SETTINGS)
    project.write("shop/fixtures/given.json", FIXTURE % (1, chance.choice("ab"), chance.randint(0, 1)))
    project.run(*world(chance))
    for step in tasks(chance):
        before = project.contents()
        (predicted,) = project.run(step, check=True)
        assert project.contents() == before, f"{step} changes something in check mode"
        done, again = project.run(step, step)
        told, found = ([each.changed, each.before, each.after, each.diff] for each in (predicted, done))
        assert told == found, step
        assert not again.changed, (step, again)
