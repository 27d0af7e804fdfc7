# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# For tests that want a checkout of their own: its hosts, network and .venv are no one else's.

# copy_checkout DIRECTORY - copy this checkout as it is, what is not committed yet included; what is ignored stays behind
copy_checkout() {
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --ignore-failed-read --files-from=- 2>/dev/null | tar --extract --directory "$1"
}

# step WHAT - say what comes, and how long the test has run
step() { printf '\n%5d s  %s\n' "$SECONDS" "$1"; }

# expect WHAT COMMAND... - end the test unless the command succeeds
expect() {
    "${@:2}" || {
        printf 'expected: %s\n' "$1" >&2
        exit 1
    }
    printf '%5d s  %s: yes\n' "$SECONDS" "$1"
}
