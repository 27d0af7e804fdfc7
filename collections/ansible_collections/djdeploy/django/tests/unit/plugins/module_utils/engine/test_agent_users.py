# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups of any model, in any database: what is predicted is what is done, and what cannot be is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import (
    StepError,
    Target,
    run_steps,
)

from ...programs import PYTHON, forked

Step = dict[str, Any]
BEA: Step = {"name": "user", "username": "bea"}
ANN: Step = {"name": "user", "username": "ann@example.com"}
EDITORS: Step = {"name": "group", "group": "editors"}
HEAD = """
from django.contrib.auth.models import AbstractBaseUser, AbstractUser, BaseUserManager, Group, UserManager
from django.db import models
from django.db.models.signals import post_save
"""


@pytest.fixture(scope="module")
def database(startproject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the project after `migrate`."""
    root = shutil.copytree(startproject, tmp_path_factory.mktemp("migrated") / "project")
    run_steps(Target.for_project(root, PYTHON), [{"name": "migrate"}], run=forked)
    return Path(root) / "db.sqlite3"


@pytest.fixture
def shop(project: Any, database: Path) -> Any:
    """A project after `migrate`."""
    shutil.copy(database, project.root)
    return project


def with_own_model(project: Any, models: str) -> None:
    """A project after `migrate` whose users are those of `people.Person`."""
    project.write("people/__init__.py", "")
    project.write("people/migrations/__init__.py", "")
    project.write("people/models.py", HEAD + models)
    project.settings('INSTALLED_APPS += ["people"]\nAUTH_USER_MODEL = "people.Person"')
    project.run({"name": "command", "argv": ["makemigrations", "people"]}, {"name": "migrate"})


def shell(project: Any, code: str) -> None:
    project.run({"name": "shell", "code": code})


# --- What a user of Django's own model is like ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "column", "stored"),
    [
        ({"email": "B@EXAMPLE.com"}, "email", "B@example.com"),
        ({"username": "\ufb01n"}, "username", "fin"),  # a ligature: the login form makes two letters of it
        ({"fields": {"date_joined": "2026-01-01 00:00:00"}}, "date_joined", "2026-01-01 00:00:00"),
        ({"fields": {"date_joined": "2026-01-01T02:00:00+02:00"}}, "date_joined", "2026-01-01 00:00:00"),
        ({"fields": {"id": 77}}, "id", 77),
        ({"fields": {"first_name": 5}}, "first_name", "5"),
        ({"staff": True, "fields": {"is_staff": False}}, "is_staff", 1),
    ],
)
def test_values_are_compared_as_they_are_stored(shop: Any, given: Step, column: str, stored: Any) -> None:
    done = shop.proven({**BEA, **given})
    assert done.before is None and done.facts["created"]
    assert shop.rows(f"SELECT {column} FROM auth_user") == [(stored,)]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({**BEA, "username": ""}, "auth.User.username: This field cannot be blank."),
        ({**BEA, "username": "be a"}, "auth.User.username: Enter a valid username."),
        ({**BEA, "username": "b" * 200}, "auth.User.username: Ensure this value has at most 150 characters"),
        ({**BEA, "email": "not an address"}, "auth.User.email: Enter a valid email address."),
        ({**BEA, "fields": {"groups": ["x"]}}, "auth.User has no field 'groups'"),
        ({**BEA, "fields": {"logentry": 3}}, "auth.User has no field 'logentry'"),
        ({**BEA, "fields": {"first_name": None}}, "auth.User.first_name: This field cannot be null."),
        ({**BEA, "fields": {"first_name": "x" * 151}}, "auth.User.first_name: Ensure this value has at most 150"),
        (
            {**BEA, "fields": {"date_joined": "soon"}},
            "auth.User.date_joined: \u201csoon\u201d value has an invalid format",
        ),
        ({**EDITORS, "group": ""}, "'' is not the name of a group"),
        ({**EDITORS, "permissions": ["add_product"]}, "there is no permission 'add_product'"),
    ],
)
def test_values_django_would_not_take(shop: Any, step: Step, said: str) -> None:
    error = shop.refused(step)
    assert error.kind == "user" and error.message.startswith(said)


def test_an_existing_user(shop: Any) -> None:
    shop.run(BEA)
    for fields, said in (
        ({"id": 77}, "auth.User.id is the primary key: it cannot be changed"),
        ({"first_name": None}, "auth.User.first_name: This field cannot be null."),
    ):
        assert shop.refused({**BEA, "fields": fields}).message == said
    done = shop.proven({**BEA, "fields": {"date_joined": "2026-01-01 00:00:00"}})
    assert not done.facts["created"] and done.after["date_joined"] == "2026-01-01 00:00:00+00:00"


def test_nobody_to_delete(shop: Any) -> None:
    (done,) = shop.run({**BEA, "username": "", "state": "absent"})
    assert not done.changed and done.facts["removed"] == {}


def test_a_permission_named_twice(shop: Any) -> None:
    done = shop.proven({**EDITORS, "permissions": ["shop.add_product", "shop.add_product"]})
    assert done.after["permissions"] == ["shop.add_product"]
    assert shop.rows("SELECT count(*) FROM auth_group_permissions") == [(1,)]


def test_a_permission_of_a_model_that_is_not_migrated_yet(shop: Any) -> None:
    shop.append("shop/models.py", "\nclass Producer(models.Model):\n    pass\n")
    shop.run({"name": "command", "argv": ["makemigrations", "shop"]})
    step = {**EDITORS, "permissions": ["shop.change_producer"]}
    error = shop.refused(step)
    assert error.message == "there is no permission 'shop.change_producer' yet" and error.hint == "run `migrate` first"
    shop.run({"name": "migrate"})
    assert shop.proven(step).after["permissions"] == ["shop.change_producer"]


@pytest.mark.parametrize("step", [BEA, EDITORS, {**BEA, "name": "superuser"}, {**BEA, "state": "absent"}])
def test_a_project_without_users(shop: Any, step: Step) -> None:
    shop.settings('INSTALLED_APPS = ["django.contrib.staticfiles", "shop"]')
    error = shop.refused(step)
    assert error.message == "django.contrib.auth is not in INSTALLED_APPS: there are no users to create"


# --- Users of other models --------------------------------------------------------------------------------------------

EMPLOYED = """
class Company(models.Model):
    name = models.CharField(max_length=20)

class People(BaseUserManager):
    def create_user(self, email, company, password=None):
        person = self.model(email=email, company_id=company)
        person.set_password(password)
        person.save(using=self._db)
        return person

    create_superuser = create_user

class Person(AbstractBaseUser):
    email = models.EmailField(unique=True)
    company = models.ForeignKey(Company, models.PROTECT)
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["company"]
    objects = People()
"""


def test_a_required_foreign_key(project: Any) -> None:
    """It has two names, `company` and `company_id`; the manager takes only one."""
    with_own_model(project, EMPLOYED)
    shell(project, "from people.models import Company; Company.objects.create(id=1, name='a')")
    assert project.refused(ANN).message == "people.Person needs company"
    for field, value, said in (
        ("company", 99, "people.Person.company: company instance with id 99 "),
        ("company_id", 99, "people.Person.company: company instance with id 99 "),
        ("company", "x", "people.Person.company: \u201cx\u201d value must be an integer."),
        ("company_id", None, "people.Person.company: This field cannot be null."),
    ):
        assert project.refused({**ANN, "fields": {field: value}}).message.startswith(said)
    project.proven({**ANN, "fields": {"company": 1}})
    project.proven({"name": "superuser", "username": "bea@example.com", "fields": {"company_id": 1}})
    assert project.rows("SELECT email, company_id FROM people_person ORDER BY email") == [
        ("ann@example.com", 1),
        ("bea@example.com", 1),
    ]


BARE = """
class People(BaseUserManager):
    def create_user(self, login, password=None):
        person = self.model(login=login)
        person.set_password(password)
        person.save(using=self._db)
        return person

class Person(AbstractBaseUser):
    login = models.CharField(max_length=20, unique=True)
    USERNAME_FIELD = "login"
    objects = People()
"""


def test_a_model_with_a_name_and_a_password(project: Any) -> None:
    with_own_model(project, BARE)
    for given, said in (
        ({"email": "bea@example.com"}, "people.Person has no email address"),
        ({"staff": True}, "people.Person has no field 'is_staff'"),
        ({"groups": []}, "people.Person has no groups"),
    ):
        assert project.refused({**BEA, **given}).message == said
    assert project.proven(BEA).after == {"login": "bea"}
    assert project.proven({**BEA, "state": "absent"}).before == {"login": "bea"}


LOWERCASED = """
class People(BaseUserManager):
    def create_user(self, email, password=None):
        person = self.model(email=email.lower())
        person.set_password(password)
        person.save(using=self._db)
        return person

class Person(AbstractBaseUser):
    email = models.EmailField(unique=True)
    USERNAME_FIELD = "email"
    objects = People()
"""


def test_an_email_address_as_username(project: Any) -> None:
    """The manager would store another one than was asked for; a second run would not find it."""
    with_own_model(project, LOWERCASED)
    error = project.refused({**ANN, "email": "bea@example.com"})
    assert error.message == "the email address is the username here, and both are given"
    project.proven({**ANN, "username": "Ann@EXAMPLE.com", "email": "Ann@example.com"})
    assert project.rows("SELECT email FROM people_person") == [("Ann@example.com",)]


PARTICULAR = """
class Team(models.Model):
    name = models.CharField(max_length=20)

class Active(UserManager):
    def get_queryset(self):
        return super().get_queryset().filter(is_active=True)

class Person(AbstractUser):
    email = models.EmailField(unique=True)
    rate = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    data = models.JSONField(default=dict)
    token = models.UUIDField(null=True)
    groups = models.ManyToManyField(Team)
    objects = Active()

def refuse(instance, **more):
    if instance.first_name == "Nobody":
        raise ValueError("no such name")

post_save.connect(refuse, sender=Person)
"""


def test_a_model_with_peculiarities(project: Any) -> None:
    with_own_model(project, PARTICULAR)
    shell(project, "from people.models import Team; Team.objects.create(name='reds')")
    assert project.refused({**BEA, "groups": ["blues"]}).message == "there is no group 'blues'"
    assert project.proven({**BEA, "email": "b@example.com", "groups": ["reds"]}).after["groups"] == ["reds"]
    error = project.refused({**BEA, "username": "carl", "email": "b@example.com"})
    assert error.message == "another user has the email 'b@example.com' already"
    for fields in ({"rate": 0.1}, {"rate": "1.5", "data": {"a": [1]}, "token": "8c9a2c36-7d6b-4a60-9b4c-2f2f2d9b0b11"}):
        project.proven({**BEA, "fields": fields})
    error = project.refused({**BEA, "fields": {"rate": 1.005}})
    assert error.message == "people.Person.rate: Ensure that there are no more than 2 decimal places."
    with pytest.raises(StepError, match=r"ValueError: no such name \(people/models.py line"):
        project.run({**BEA, "username": "dora", "email": "d@example.com", "fields": {"first_name": "Nobody"}})
    project.proven({**BEA, "active": False})  # which the manager hides
    assert project.rows("SELECT username, rate, is_active FROM people_person") == [("bea", 1.5, 0)]


# --- Several databases ------------------------------------------------------------------------------------------------

ROUTER = """
class Router:
    def db_for_read(self, model, **hints):
        return "default"

    db_for_write = db_for_read

    def allow_relation(self, *objects, **hints):
        return True
"""
OTHER = 'DATABASES["other"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "other.sqlite3"}'


def test_the_database_that_is_named_and_no_other(shop: Any, database: Path) -> None:
    """A router that sends everything elsewhere is not asked."""
    shop.write("routing.py", ROUTER)
    shutil.copy(database, shop.root / "other.sqlite3")
    shop.settings(f'{OTHER}\nDATABASE_ROUTERS = ["routing.Router"]')
    shop.run({**EDITORS, "permissions": ["shop.add_product"]}, {**BEA, "groups": ["editors"]}, {**BEA, "username": "c"})
    untouched = shop.contents()["db.sqlite3"]
    permissions = ["shop.change_product"]
    for step in (
        {**EDITORS, "permissions": permissions},
        {**BEA, "staff": True, "groups": ["editors"]},
        {**BEA, "email": "bea@example.com", "password": "long-secret", "update_password": "always", "groups": []},
        {**EDITORS, "permissions": ["shop.add_product"], "append": True},
        {**BEA, "state": "absent"},
        {**EDITORS, "state": "absent"},
    ):
        shop.proven({**step, "database": "other"})
        assert shop.contents()["db.sqlite3"] == untouched, step
        if step.get("staff"):
            found = (
                "SELECT username, name FROM auth_user_groups NATURAL JOIN (SELECT id user_id, username FROM auth_user)"
            )
            found += " NATURAL JOIN (SELECT id group_id, name FROM auth_group)"
            assert shop.rows(found, "other.sqlite3") == [("bea", "editors")]
    assert shop.rows("SELECT username FROM auth_user", "other.sqlite3") == []
    assert shop.rows("SELECT name FROM auth_group", "other.sqlite3") == []


# --- What goes along with a user --------------------------------------------------------------------------------------

OWNED = """
class Basket(models.Model):
    owner = models.ForeignKey("people.Person", models.%s)

class Item(models.Model):
    basket = models.ForeignKey(Basket, models.CASCADE)

class Profile(models.Model):
    group = models.OneToOneField(Group, models.CASCADE)

class Person(AbstractUser):
    friends = models.ManyToManyField("self")
"""
FILL = """
from django.contrib.admin.models import LogEntry
from people.models import *
bea, carl = Person.objects.order_by("username")
basket = Basket.objects.create(owner=bea)
Item.objects.create(basket=basket)
Item.objects.create(basket=basket)
bea.friends.add(carl)
LogEntry.objects.create(user=carl, action_flag=1, object_repr="x")
Profile.objects.create(group=Group.objects.get(name="editors"))
"""


def with_belongings(project: Any, kind: str, more: str = "") -> None:
    with_own_model(project, OWNED % kind + more)
    project.run(EDITORS, {**EDITORS, "group": "sellers"}, {**BEA, "groups": ["editors"]}, {**BEA, "username": "carl"})
    shell(project, FILL)


def test_what_goes_along_is_told_and_goes_only_when_agreed(project: Any) -> None:
    with_belongings(project, "CASCADE")
    error = project.refused({**BEA, "state": "absent"})
    assert error.message == "with bea would go: 1 of people.basket, 2 of people.item"
    assert error.hint.startswith("`force: true`") and "`active: false`" in error.hint
    assert error.facts["removed"] == {"people.basket": 1, "people.item": 2}
    error = project.refused({**EDITORS, "state": "absent"})
    assert error.message == "with editors would go: 1 of people.profile" and "active" not in error.hint
    done = project.proven({**BEA, "state": "absent", "force": True})
    assert done.facts["removed"] == {"people.basket": 1, "people.item": 2}
    # A group, the relation to a friend and the admin's log are not worth a question.
    assert project.proven({**BEA, "username": "carl", "state": "absent"}).facts["removed"] == {}
    assert project.rows("SELECT count(*) FROM people_person") == [(0,)]
    assert project.rows("SELECT count(*) FROM people_item") == [(0,)]


@pytest.mark.parametrize("kind", ["PROTECT", "RESTRICT", "DO_NOTHING"])
def test_what_must_not_go_keeps_the_user(project: Any, kind: str) -> None:
    with_belongings(project, kind)
    error = project.refused({**BEA, "state": "absent", "force": True})
    assert error.kind == "user" and error.hint == "delete or change those first"
    assert "Basket" in error.message


def test_what_stays_without_its_owner(project: Any) -> None:
    with_belongings(project, "SET_NULL, null=True")
    assert project.proven({**BEA, "state": "absent"}).facts["removed"] == {}
    assert project.rows("SELECT owner_id FROM people_basket") == [(None,)]


SOFT = """
class Person(AbstractUser):
    def delete(self, *args, **kwargs):
        self.is_active = False
        self.save()
"""


def test_a_model_that_only_marks_as_deleted(project: Any) -> None:
    with_own_model(project, SOFT)
    project.run(BEA)
    with pytest.raises(StepError) as caught:
        project.run({**BEA, "state": "absent"})
    assert caught.value.message == "people.Person.delete() does not delete: bea would still be there"
    assert project.rows("SELECT is_active FROM people_person") == [(1,)]


def test_a_group_with_members(shop: Any) -> None:
    shop.run(EDITORS, {**BEA, "groups": ["editors"]})
    assert shop.proven({**EDITORS, "state": "absent"}).facts["removed"] == {}
    assert shop.rows("SELECT username FROM auth_user") == [("bea",)]
