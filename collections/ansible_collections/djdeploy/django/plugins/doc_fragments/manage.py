# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of every module that does manage.py work."""

from __future__ import annotations


class ModuleDocFragment:
    """Which project, with which Python and environment, as whom."""

    DOCUMENTATION = r"""
attributes:
  action_group:
    support: full
    membership: [djdeploy.django.manage]
    description: Use C(group/djdeploy.django.manage) in C(module_defaults) to say once which project a play is about.
options:
  site:
    description:
      - Name of a site of this host. Its live release is used, with the virtual environment, the variables and
        the user its web processes have.
      - It needs root (C(become=true)). The work runs as the user of the site, in a unit of it. It sees the part of
        the host that is the site's, within its limits. What it leaves running ends with the task.
      - C(/tmp) and C(/var) are those of the host. Of C(/srv) it sees the directory of the site alone.
      - A task that became the user of the site (C(become_user)) cannot read its variables. With O(project_path) it
        works without them, as a child of the task and in no unit.
      - One of O(site) and O(project_path) is needed.
    type: str
  project_path:
    description: Directory of the project's C(manage.py), for a project that is not a site of djdeploy.
    type: path
  venv:
    description:
      - Directory of the virtual environment.
      - Without it and O(python), C(.venv) or C(venv) in O(project_path) is used.
    type: path
  python:
    description: The Python to use, instead of that of a virtual environment.
    type: path
  settings:
    description:
      - Dotted path of the settings module.
      - Without it, E(DJANGO_SETTINGS_MODULE) of O(environment) or O(env_file) counts, and then what
        C(manage.py) names.
    type: str
  pythonpath:
    description: Directories to import from, besides O(project_path).
    type: list
    elements: path
  environment:
    description:
      - Environment variables of the project. Nothing else of the environment of the Ansible connection is
        passed on.
      - Secrets among them, of 8 characters or more, are hidden in all that is returned and logged. They are known by
        their name, such as C(DB_PASSWORD), C(API_KEY) or C(GITHUB_TOKEN), and by their place in an address
        (C(redis://user:password@host)). All others are shown in verbose output; put what nobody may see into
        O(env_file).
    type: dict
  env_file:
    description:
      - File of environment variables on the host, in the format of systemd's C(EnvironmentFile).
      - A line in it that sets no variable ends the task. systemd passes over it.
      - What is in it is never shown by itself. When the project prints a value, it is hidden if it is known as a secret
        in the way that O(environment) tells.
    type: path
  run_as:
    description:
      - Unix user to become. By default the user the task runs as.
      - It needs root, so C(become=true) without a C(become_user). Or leave it out and name the user in C(become_user).
    type: str
  timeout:
    description: Seconds, above 0, after which the work is stopped and the task fails. By default there is no limit.
    type: float
notes:
  - The work is done in one Django process inside the virtual environment of the project. Whether something
    changed is asked of Django itself and never guessed from printed text.
  - Needs Python 3.10 and Django 4.2, or newer, in the virtual environment.
  - In check mode, where there is no project yet, the module tells that what it would do cannot be told.
"""
