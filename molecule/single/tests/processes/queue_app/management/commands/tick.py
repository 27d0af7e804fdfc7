# SPDX-License-Identifier: GPL-3.0-or-later
import signal
import sys
import time

from django.core.management.base import BaseCommand

from queue_app.tasks import tell


class Command(BaseCommand):
    """A job: tells when it begins and when it ends, or that it is ended before its time."""

    def add_arguments(self, parser):
        parser.add_argument("seconds", type=float)
        parser.add_argument("name", nargs="?", default="tick")

    def handle(self, *args, seconds, name, **options):
        began = time.time_ns()

        def cut(*_):
            tell(f"{name}-cut", time.time())
            sys.exit(1)

        signal.signal(signal.SIGTERM, cut)
        tell(f"{name}-began", began)
        time.sleep(seconds)
        tell(f"{name}-ended", began)
