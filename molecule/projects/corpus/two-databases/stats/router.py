# SPDX-License-Identifier: GPL-3.0-or-later


class Reports:
    """The app `stats` lives in the database `reports`, and nothing else does."""

    def db_for_read(self, model, **hints) -> str | None:
        return "reports" if model._meta.app_label == "stats" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints) -> bool:
        return (app_label == "stats") == (db == "reports")
