# SPDX-License-Identifier: GPL-3.0-or-later
"""One model for each way in which a row can be hard to carry to another database."""

import uuid

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Tag(models.Model):
    """A key of text, and tags that know one another."""

    word = models.CharField(primary_key=True, max_length=30)
    near = models.ManyToManyField("self")


class Author(models.Model):
    """Names of people; each may have had a teacher."""

    name = models.CharField(max_length=60)
    born = models.DateField(null=True)
    teacher = models.ForeignKey("self", models.SET_NULL, null=True)


class Work(models.Model):
    """Every kind of column."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=80)
    text = models.TextField(blank=True)
    facts = models.JSONField(null=True)
    price = models.DecimalField(max_digits=9, decimal_places=3, default=0)
    weight = models.FloatField(null=True)
    pages = models.PositiveIntegerField(null=True)
    big = models.BigIntegerField(default=0)
    lent = models.BooleanField(default=False)
    made = models.DateTimeField(auto_now_add=True)
    touched = models.DateTimeField(auto_now=True)
    opens = models.TimeField(null=True)
    takes = models.DurationField(null=True)
    cover = models.BinaryField(null=True)
    scan = models.FileField(upload_to="scans", blank=True)
    origin = models.GenericIPAddressField(null=True)
    authors = models.ManyToManyField(Author)
    tags = models.ManyToManyField(Tag, through="Marked")


class Marked(models.Model):
    """A table between two others with a column of its own."""

    work = models.ForeignKey(Work, models.CASCADE)
    tag = models.ForeignKey(Tag, models.CASCADE)
    weight = models.SmallIntegerField(default=0)

    class Meta:
        unique_together = (("work", "tag"),)


class Novel(Work):
    """A model whose rows are in two tables."""

    chapters = models.IntegerField(default=1)


class Remark(models.Model):
    """About a row of any table."""

    kind = models.ForeignKey(ContentType, models.CASCADE)
    key = models.CharField(max_length=40)
    about = GenericForeignKey("kind", "key")
    text = models.CharField(max_length=200)


class Setting(models.Model):
    """Filled by a migration, and changed since."""

    name = models.CharField(max_length=30, unique=True)
    value = models.CharField(max_length=30)
