# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that tells in one line of a file that it was done, and by which release."""

import fcntl
import os
import time
from pathlib import Path

from celery import shared_task

DONE = Path(os.environ["HOME"]) / "done.log"


def tell(*words):
    """One line, appended as a whole."""
    with open(DONE, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print(*words, os.environ["DJDEPLOY_RELEASE"], file=file)


@shared_task
def work(number, seconds):
    tell("began", number)
    time.sleep(seconds)
    tell("celery", number)


@shared_task
def beat():
    tell("beat", time.time_ns())


def rq_work(number, seconds):
    time.sleep(seconds)
    tell("rq", number)
