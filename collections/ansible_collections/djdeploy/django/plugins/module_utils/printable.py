# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where modules of this collection give their answers to Ansible.

Ansible prints the message of a failed task, warnings and differences to the operator's terminal as they are, and all
the rest of a failed task's answer as JSON in which everything beyond ASCII is as it was. What a project says when it
breaks is in there, and who pushed it chose the words: a terminal must not obey them.

Ansible hides a secret only as it stands. Where it is written in another way, as within the repr of a list of sites or
in what `terminal.printable` makes of it, it would be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values

from .engine.terminal import printable

READ_BY_PEOPLE = ("msg", "diff", "log", "lines")  # of what a module that succeeds returns; the rest is for programs
HIDDEN = "********"


def printable_within(value: Any, made: Callable[[str], str] = printable) -> Any:
    """A value with every text in it as `terminal.printable` makes it, names as well.

    :param made: what makes the texts, but for names.
    """
    if isinstance(value, str):
        return made(value)
    if isinstance(value, Mapping):
        return {printable_within(key): printable_within(each, made) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [printable_within(each, made) for each in value]
    return value


class PrintableModule(AnsibleModule):  # type: ignore[misc]  # ansible-core has no types
    """An AnsibleModule that says nothing a terminal would obey, and logs no value of its options."""

    options_known = False  # until then AnsibleModule may fail before everything secret is among `no_log_values`

    def _log_invocation(self) -> None:
        """Called by AnsibleModule itself, as soon as it knows the options.

        Its own would write the values into the log of the host, where the groups adm and systemd-journal read them. It
        looks for secrets in the repr of each option, where one with a quote, a backslash or a line end is another text.
        """
        self.options_known = True
        given = sorted(name for name, value in self.params.items() if value is not None)
        self.log(f"Invoked with {', '.join(given) or 'no options'}")

    def shown(self, text: str) -> str:
        """A text for people. Secrets go first: made printable, one with a control character is another text."""
        return printable(str(remove_values(text, self.no_log_values)))

    def fail_json(self, msg: Any, **answer: Any) -> NoReturn:
        """Everything is made printable: whoever reads why a task failed is a person."""
        if not self.options_known:
            answer.setdefault("invocation", {"module_args": dict.fromkeys(self.params, HIDDEN)})
        super().fail_json(self.shown(str(msg)), **printable_within(answer, self.shown))
        raise AssertionError("fail_json returned")

    def exit_json(self, **answer: Any) -> NoReturn:
        """What is for people is made printable; what a program asked for is as it is."""
        super().exit_json(
            **{
                name: printable_within(value, self.shown) if name in READ_BY_PEOPLE else value
                for name, value in answer.items()
            }
        )
        raise AssertionError("exit_json returned")

    def warn(self, warning: str, **options: Any) -> None:
        super().warn(self.shown(warning), **printable_within(options, self.shown))
