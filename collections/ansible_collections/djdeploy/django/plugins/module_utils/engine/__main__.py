# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it exits; Ansible forbids that to modules
"""`python3 -m djdeploy_engine`: the command for people, and the entries of sshd, git and systemd.

The latter are told apart first and import only what they need: a push waits for them.
"""

from __future__ import annotations

import sys


def main(argv: list[str]) -> int:
    match argv:
        case ["receive", key, *sites] if key.startswith("--key="):
            from .door import receive

            return receive(key.removeprefix("--key="), sites)
        case ["hook", name]:
            from .door import hook

            return hook(name)
        case ["deployer"]:
            from .deployer import main as deployer

            return deployer()
    from .cli import main as command

    return command(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
