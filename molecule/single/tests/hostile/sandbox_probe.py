# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for what another site has, and writes down what it found. Part of a hostile project: runs in its processes."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import time

OTHER = "treasure"
NAMES = (
    f"/srv/{OTHER}",
    f"/srv/{OTHER}/current/code/manage.py",
    f"/srv/{OTHER}/current/release.env",
    f"/srv/{OTHER}/shared/db.sqlite3",
    f"/srv/{OTHER}/shared/media",
    f"/srv/{OTHER}/shared/media/attachments/upload.txt",
    f"/srv/{OTHER}/repo.git/HEAD",
    f"/srv/{OTHER}/venvs",
    f"/srv/{OTHER}/current/.venv/bin/python",
    f"/etc/djdeploy/sites/{OTHER}.gunicorn.py",
    f"/etc/djdeploy/sites/{OTHER}.env",
    f"/etc/djdeploy/sites/{OTHER}.json",
    f"/etc/djdeploy/sites/{OTHER}.secrets",
    f"/var/lib/djdeploy/{OTHER}",
    f"/var/lib/djdeploy/{OTHER}/journal.jsonl",
    f"/var/cache/djdeploy/{OTHER}",
    f"/run/djdeploy/{OTHER}/locks/deploy",
    "/etc/shadow",
)
#: Who is there tells the command lines of all units, as a service or as files.
TOLD = ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/transient")


def opened(name):
    """Whether something can be read, or a directory listed."""
    try:
        os.listdir(name) if os.path.isdir(name) else open(name, "rb").close()
    except OSError:
        return False
    return True


def listed(name):
    try:
        return sorted(os.listdir(name))
    except OSError:
        return []


def reached(name):
    """Whether a socket, of whichever kind, takes what is written to it, or a directory can be listed."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:  # where there are no such sockets at all, none can be made
            with socket.socket(socket.AF_UNIX, kind) as connection:
                connection.connect(name)
        except OSError:
            continue
        return True
    return opened(name) if os.path.isdir(name) else False


def forge():
    """Write to the journal what the deployer and systemd would write, of another site and of its own unit."""
    with open("/proc/self/cgroup") as file:
        own = file.read().strip().rsplit("/", 1)[-1]
    ours = {"SYSLOG_IDENTIFIER": "djdeploy", "DJDEPLOY_SITE": OTHER, "DJDEPLOY_RESULT": "failed", "PRIORITY": "3"}
    theirs = {"SYSLOG_IDENTIFIER": "systemd", "MESSAGE_ID": "d9b373ed55a64feb8242e02dbe79a49c", "PRIORITY": "4"}
    for fields in (
        {**ours, "MESSAGE": "forged by a site", "OBJECT_SYSTEMD_UNIT": f"djdeploy-{OTHER}@1.service"},
        {**theirs, "MESSAGE": "forged: Failed with result 'oom-kill'.", "UNIT": f"djdeploy-{OTHER}@1.service"},
        {**theirs, "MESSAGE": "forged: Failed with result 'oom-kill'.", "UNIT": own},
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            said = "".join(f"{name}={value}\n" for name, value in fields.items())
            connection.sendto(said.encode(), "/run/systemd/journal/socket")


def segments():
    """Ask for a segment of System V's shared memory that stays behind; tell whose are there now."""
    ctypes.CDLL(None).shmget(0, 4096, 0o1600)  # IPC_PRIVATE, IPC_CREAT
    with open("/proc/sysvipc/shm") as file:
        return sorted({int(line.split()[7]) for line in file.readlines()[1:]})


def semaphore():
    """Whether two processes of one unit meet in /dev/shm: by a semaphore, and by memory that both see."""
    from multiprocessing import get_context
    from multiprocessing.shared_memory import SharedMemory

    context = get_context("fork")
    try:
        memory, lock = SharedMemory(create=True, size=1), context.Lock()
    except OSError:
        return False
    try:
        lock.acquire()
        child = context.Process(target=fill, args=(lock, memory.name))
        child.start()
        lock.release()
        child.join(60)
        return memory.buf[0] == 7
    finally:
        memory.close()
        memory.unlink()


def fill(lock, name):
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(name)
    with lock:
        memory.buf[0] = 7
    memory.close()


def look(where):
    """Write to $HOME what can be seen from here; both kinds of user may write there."""
    found = {
        "sites": listed("/srv"),
        "caches": listed("/var/cache/djdeploy"),
        "there": [name for name in NAMES[:-1] if os.path.lexists(name)],
        "opened": [name for name in NAMES if opened(name)],
        "told": [name for name in TOLD if reached(name)],
        "log": reached("/dev/log"),
        "memory": listed("/dev/shm"),
        "semaphore": semaphore(),
        "user": os.getuid(),
        "segments": segments(),
        "umask": os.umask(0o022),
    }
    os.umask(found["umask"])
    with open(os.path.join(os.environ["HOME"], f"probe-{where}.json"), "w") as file:
        json.dump(found, file)


def stay(seconds):
    """Leave a process behind that nobody's polite word ends; the number tells whose it is."""
    subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' TERM HUP INT; while :; do sleep {seconds}; done"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    look(sys.argv[1])
    if sys.argv[1] == "worker":
        forge()
    while sys.argv[1] == "worker":
        time.sleep(60)
