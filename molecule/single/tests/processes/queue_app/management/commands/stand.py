# SPDX-License-Identifier: GPL-3.0-or-later
import fcntl
import os
import signal
import time

from django.core.management.base import BaseCommand

from queue_app.tasks import DONE, tell


class Command(BaseCommand):
    """A daemon of which there may be only one: it tells when it finds another."""

    def handle(self, *args, **options):
        ended = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
        with open(DONE.with_name("daemon.lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("daemon-twice", os.getpid())
                raise
            tell("daemon-began", os.getpid())
            while not ended:
                time.sleep(0.1)
            tell("daemon-ended", os.getpid())
