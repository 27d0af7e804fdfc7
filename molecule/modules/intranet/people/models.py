# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class People(BaseUserManager):
    def create_user(self, email, full_name, password=None):
        person = self.model(email=self.normalize_email(email), full_name=full_name)
        person.set_password(password)
        person.save(using=self._db)
        return person

    def create_superuser(self, email, full_name, password=None):
        person = self.create_user(email, full_name, password)
        person.is_superuser = True
        person.save(using=self._db)
        return person


class Person(AbstractBaseUser, PermissionsMixin):
    """Logs in with an address; has no `username`, no `is_staff` of its own."""

    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=100)
    is_active = models.BooleanField(default=True)

    objects = People()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ("full_name",)

    @property
    def is_staff(self):
        return self.is_superuser
