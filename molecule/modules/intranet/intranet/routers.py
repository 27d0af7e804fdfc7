# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger writes has a database of its own; everything else is in the first."""


class Ledger:
    def db_for_read(self, model, **hints):
        return "ledger" if model._meta.app_label == "ledger" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "ledger") == (app_label == "ledger")
