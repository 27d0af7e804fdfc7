# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the tables of the project `moving`; run by its manage.py shell."""

import datetime
import random
import uuid
from decimal import Decimal

from django.contrib.auth.models import Group, Permission, User
from django.core.files.base import ContentFile
from django.utils import timezone
from library.models import Author, Marked, Novel, Remark, Setting, Tag, Work

chance = random.Random(20261121)
words = ["Straße", "naïve", "日本語", "🎉🎉", "Ωmega", "a'b\"c\\d", "line\nbreak\r\n", "tab\t", "\u200b", "%s {0}", ""]


def some(length: int) -> str:
    return " ".join(chance.choice(words) for _ in range(4))[:length]


tags = [Tag(word=f"{number} {words[number % len(words)]}"[:30]) for number in range(40)]
Tag.objects.bulk_create(tags)
for tag in tags[:20]:
    tag.near.add(*chance.sample(tags, 3))
authors = Author.objects.bulk_create(
    Author(name=some(60), born=datetime.date(1000 + number, 2, 28) if number % 3 else None) for number in range(500)
)
for number, author in enumerate(authors):
    author.teacher = authors[(number * 7 + 1) % len(authors)]  # in rings: none could come first
Author.objects.bulk_update(authors, ["teacher"])
Author.objects.create(name="gone", id=9000).delete()  # its id must never come again
facts = [None, {}, [], {"b": 1, "a": [1.5, 1e2, True, None, "ü\n"]}, "text", 7, {"ключ": {"deep": ["🎉"]}}, 2**60, 0.1]
works = Work.objects.bulk_create(
    Work(
        title=some(80),
        text=some(400) * (number % 5),
        facts=facts[number % len(facts)],
        price=Decimal(number) / 1000 - 3,
        weight=[None, 0.1, -0.0, 1e300, 1 / 3][number % 5],
        pages=number % 7 or None,
        big=(-1) ** number * (2**63 - 1 - number),
        lent=bool(number % 2),
        opens=datetime.time(number % 24, 59, 59, 999999) if number % 2 else None,
        takes=datetime.timedelta(days=number, microseconds=-number) if number % 3 else None,
        cover=bytes(range(256)) * (number % 3) or None,
        origin=[None, "192.0.2.7", "2001:db8::1"][number % 3],
    )
    for number in range(6000)
)
Work.objects.filter(pk__in=[work.pk for work in works[:500]]).update(
    made=timezone.now() - datetime.timedelta(days=9999, microseconds=1)
)
for work in works[:3]:
    work.scan.save(f"{work.title[:5] or 'x'}.txt".replace("\n", ""), ContentFile(b"scanned"))
Work.authors.through.objects.bulk_create(
    Work.authors.through(work=work, author=authors[number % 500]) for number, work in enumerate(works)
)
Marked.objects.bulk_create(
    Marked(work=work, tag=tags[number % 40], weight=-number) for number, work in enumerate(works[:5000])
)
for number in range(50):
    Novel.objects.create(id=uuid.UUID(int=number), title=some(80), chapters=number)
Remark.objects.bulk_create(
    Remark(about=chance.choice([*works[:9], *authors[:9], *tags[:9]]), text=some(200)) for _ in range(3000)
)
Setting.objects.filter(name="filled").update(value="changed since")
user = User.objects.create_superuser("ann", "ann@example.com", "a good secret")
group = Group.objects.create(name="Редакция")
group.permissions.set(Permission.objects.filter(codename__startswith="add_"))
user.groups.add(group)
