# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: everything djdeploy does to a site, in one place.

Three doors lead here and none has logic of its own: `git push` (the hooks of the bare
repository), Ansible (the modules beside this package) and the `djdeploy` command on the host.

The rule of this package: standard library and relative imports only, and nothing of Ansible.
That is why the same files work inside a module (AnsiballZ follows relative imports) and, copied
to a host, as the package `djdeploy_engine`. A unit test walks the imports and holds the rule.
"""

from __future__ import annotations

__version__ = "0.1.0"
