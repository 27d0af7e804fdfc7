# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for work, and see what was done."""

import os

import redis
import rq
from django.http import HttpResponse

from . import tasks


def front(request):
    return HttpResponse(os.environ["DJDEPLOY_RELEASE"])


def ask(request):
    """Ask for `count` jobs from number `first` on, of 0.1 s and more; all of them at once."""
    first, count = int(request.GET["first"]), int(request.GET["count"])
    connection = redis.from_url(os.environ["REDIS_URL"])
    for number in range(first, first + count):
        seconds = float(request.GET.get("seconds") or (3 if number % 50 == 0 else 0.1 + number % 7 / 10))
        if request.GET.get("queue") == "long":
            tasks.stand_by.delay(number)
        elif request.GET.get("queue") == "rq":
            rq.Queue(connection=connection).enqueue(tasks.rq_work, number, seconds)
        else:
            tasks.work.delay(number, seconds)
    return HttpResponse("asked")
