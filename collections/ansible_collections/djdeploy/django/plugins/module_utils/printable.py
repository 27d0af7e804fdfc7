# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where modules of this collection give their answers to Ansible.

Ansible prints the message of a failed task, warnings and differences to the operator's terminal as they are, and all
the rest of a failed task's answer as JSON in which everything beyond ASCII is as it was. What a project says when it
breaks is in there, and who pushed it chose the words: a terminal must not obey them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from .engine.terminal import printable

READ_BY_PEOPLE = ("msg", "diff", "log", "lines")  # of what a module that succeeds returns; the rest is for programs


def printable_within(value: Any) -> Any:
    """A value with every text in it as `terminal.printable` makes it, names as well."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable_within(key): printable_within(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [printable_within(each) for each in value]
    return value


class PrintableModule(AnsibleModule):  # type: ignore[misc]  # ansible-core has no types
    """An AnsibleModule that says nothing a terminal would obey."""

    def fail_json(self, msg: Any, **answer: Any) -> NoReturn:
        """Everything is made printable: whoever reads why a task failed is a person."""
        super().fail_json(printable(str(msg)), **printable_within(answer))
        raise AssertionError("fail_json returned")

    def exit_json(self, **answer: Any) -> NoReturn:
        """What is for people is made printable; what a program asked for is as it is."""
        super().exit_json(
            **{name: printable_within(value) if name in READ_BY_PEOPLE else value for name, value in answer.items()}
        )
        raise AssertionError("exit_json returned")

    def warn(self, warning: str, **options: Any) -> None:
        super().warn(printable(warning), **printable_within(options))
