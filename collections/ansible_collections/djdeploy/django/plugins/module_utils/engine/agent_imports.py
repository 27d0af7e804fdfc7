# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about an import that fails: the package that brings a module, or the Python that still had it."""

from __future__ import annotations

import os

# Modules whose package at PyPI has another name, as projects meet them most.
BROUGHT_BY = {
    "MySQLdb": "mysqlclient",
    "PIL": "Pillow",
    "allauth": "django-allauth",
    "bs4": "beautifulsoup4",
    "corsheaders": "django-cors-headers",
    "crispy_forms": "django-crispy-forms",
    "dateutil": "python-dateutil",
    "debug_toolbar": "django-debug-toolbar",
    "decouple": "python-decouple",
    "django_extensions": "django-extensions",
    "django_filters": "django-filter",
    "dotenv": "python-dotenv",
    "environ": "django-environ",
    "import_export": "django-import-export",
    "jwt": "PyJWT",
    "ldap": "python-ldap",
    "magic": "python-magic",
    "rest_framework": "djangorestframework",
    "rest_framework_simplejwt": "djangorestframework-simplejwt",
    "social_django": "social-auth-app-django",
    "storages": "django-storages",
    "widget_tweaks": "django-widget-tweaks",
    "yaml": "PyYAML",
}
# What came with every virtualenv once. The bound is the one setuptools itself gives when pkg_resources is imported.
SETUPTOOLS = {"pkg_resources": "setuptools<81", "setuptools": "setuptools"}
# Modules of the standard library that are gone: the last Python that has them, and who brings them since.
# https://docs.python.org/3/whatsnew/3.12.html, 3.13.html
GONE = {
    "asynchat": ("3.11", "pyasynchat"),
    "asyncore": ("3.11", "pyasyncore"),
    "distutils": ("3.11", "setuptools"),
    "imp": ("3.11", ""),
    "smtpd": ("3.11", "aiosmtpd"),
    "aifc": ("3.12", "standard-aifc"),
    "audioop": ("3.12", "audioop-lts"),
    "cgi": ("3.12", "legacy-cgi"),
    "cgitb": ("3.12", "legacy-cgi"),
    "crypt": ("3.12", "legacycrypt"),
    "imghdr": ("3.12", "standard-imghdr"),
    "nntplib": ("3.12", "standard-nntplib"),
    "pipes": ("3.12", "standard-pipes"),
    "sndhdr": ("3.12", "standard-sndhdr"),
    "telnetlib": ("3.12", "standard-telnetlib"),
    "uu": ("3.12", "standard-uu"),
    "xdrlib": ("3.12", "standard-xdrlib"),
}


def advice(module: str, *, absent: bool, asked_by: str, provider: str | None) -> str:
    """What to do about a failed import.

    :param module: the module that is not there, or that lacks a name.
    :param absent: whether the module itself is not there.
    :param asked_by: the file the import stands in.
    :param provider: the file of the module; None where there is none.
    """
    package = module.partition(".")[0]
    if absent and package in GONE:
        last, now = GONE[package]
        since = f"add {now} to the project's requirements, or " if now else ""
        return f"Python has no {package!r} since {last}: {since}name an older one: python: python{last}"
    if absent and package in SETUPTOOLS:
        return f"add {SETUPTOOLS[package]} to the project's requirements: a virtualenv has none by itself"
    if absent:
        known = BROUGHT_BY.get(package)
        brings = known or f"the package that brings {package!r}"
        return f"add {brings} to the project's requirements"
    if installed := package_of(asked_by):
        if provider and not package_of(provider) and provider.startswith(os.path.dirname(os.__file__)):
            return f"{installed} is made for an older Python: take a newer {installed}, or name one: python: python3.X"
        return f"{installed} does not fit what is installed beside it: pin both in the project's requirements"
    return "mend that import"


def package_of(file: str) -> str:
    """The top of an installed package a file lies in; empty where it is not installed, but the project's own."""
    for place in ("/site-packages/", "/dist-packages/"):
        before, found, inside = file.rpartition(place)
        if found and before:
            return inside.partition("/")[0].removesuffix(".py")
    return ""
