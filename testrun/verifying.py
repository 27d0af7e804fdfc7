# SPDX-License-Identifier: GPL-3.0-or-later
"""Become pytest as `molecule verify` would start it, for some tests. Molecule itself is asked how it would.

`molecule verify` cannot be told which test to run: it names all files of the scenario on pytest's command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from molecule.command.base import get_configs
from molecule.types import MoleculeArgs
from molecule.util import dict2args

from testrun.parts import ROOT, SCENARIOS

#: What molecule adds when it starts a program; tests/unit/test_testrun_alone.py compares the two.
ADDED = {"ANSIBLE_DEBUG": "0", "ANSIBLE_VERBOSE_TO_STDERR": "True"}
#: Options of scenarios that spread their tests over several processes: for one test there is nothing to spread.
SPREADING = ("numprocesses", "dist")


def invocation(scenario: str) -> tuple[list[str], dict[str, str]]:
    """How pytest is started for the tests of a scenario: (its options, its environment)."""
    arguments = MoleculeArgs(base_config=[str(ROOT / ".config/molecule/config.yml")], env_file=".env.yml")
    (config,) = get_configs(arguments, {"subcommand": "verify"}, (), str(SCENARIOS / scenario / "molecule.yml"))
    options = {name: value for name, value in config.verifier.options.items() if name not in SPREADING}
    return dict2args(options), dict(config.verifier.env) | ADDED


def main(arguments: Sequence[str]) -> None:
    """:param arguments: the scenario, then what pytest gets."""
    scenario, *words = arguments
    options, environment = invocation(scenario)
    os.chdir(SCENARIOS / scenario)
    os.execvpe("pytest", ["pytest", *options, *words], environment)


if __name__ == "__main__":
    main(sys.argv[1:])
