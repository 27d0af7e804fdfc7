# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of a site that takes what it can get; the tests put this file into its project."""

import os
import socket
import subprocess
import sys

import psycopg
from django.http import HttpRequest, HttpResponse, JsonResponse

BOMB = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.2)
"""
held = []


def bomb(request: HttpRequest) -> HttpResponse:
    """A fork bomb, that goes on until its unit is ended: a shell would give up where it cannot fork."""
    subprocess.Popen([sys.executable, "-c", BOMB])
    return HttpResponse("begun")


def eat(request: HttpRequest) -> HttpResponse:
    """Take memory until the kernel ends this process."""
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1)) * (16 << 20))


def script(request: HttpRequest) -> JsonResponse:
    """Have the site's redis run what never ends taking memory: a script's is none of its data."""
    lua = "local taken = {} for number = 1, 1e6 do taken[number] = string.rep('x', 1e6) .. number end"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/redis-greedy/redis.sock")
        connection.settimeout(120)
        connection.sendall(f'EVAL "{lua}" 0\r\n'.encode())
        return JsonResponse({"answer": connection.recv(200).decode()})


def connect(request: HttpRequest) -> JsonResponse:
    """Connections to the database until there are no more; they stay."""
    error = ""
    while not error and len(held) < 300:
        try:
            held.append(psycopg.connect("dbname=greedy"))
        except psycopg.OperationalError as refused:
            error = str(refused)
    return JsonResponse({"held": len(held), "error": error})
