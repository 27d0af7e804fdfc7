# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret is found in whatever way programs write its characters, and nothing else is taken for one."""

from __future__ import annotations

import base64
import html
import html.entities
import json
import os
import random
import re
import shlex
import string
import subprocess
import time
from collections.abc import Callable
from functools import cache, partial
from urllib.parse import quote, quote_plus

import pytest
import yaml
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_secrets import covered, cut_mark, forms
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_written import telling

HIDDEN = "********"

SECRETS = {
    "plain": "c4n4ry0123456789",
    "quotes": 'it\'s c4n4ry "and" so',
    "quotes around": "'\"c4n4ry-in-quotes\"'",
    "many quotes": "a''b\"\"c'\"'d4n4ry",
    "markup": "<c4n4ry&amp;>&lt;/script>",
    "percent": "100%c4n4ry%2F%41%s%",
    "backslash": "C:\\c4n4ry\\n\\x41\\",
    "tab": "tab\tc4n4ry\tand\x1b[31m red\x07",
    "lines": 'first c4n4ry\'s line\nsecond "line" of it',
    "not ASCII": "p\xe4ssw\xf6rd-c4n4ry-\u20ac",
    "Cyrillic": "\u043f\u0430\u0440\u043e\u043b\u044c-\u0434\u043b\u0438\u043d\u043d\u044b\u0439",
    "reads as one character": "Spa\xdf\xa7 c4n4ry'\xc3\xa9",
    "emoji": "\U0001f511c4n4ry-\U0001f511\U0001f468\u200d\U0001f469",
    "URL": "amqp://shop:c4n4ry%2F%40x@mq:5672/a+b?x=1&y='2'",
    "signs": "!@#$%^&*(){}|[]:;<>?,./~`'\"\\",
    "begins with hex": "41c4n4ry\"and'41%",
    "dollar": "pa$c4n4ry$HOME$$ $(id) `id`",
    "bytes": "c4n4ry\udcff'\udc80 no UTF-8",
}
TEXTS = {name: secret for name, secret in SECRETS.items() if name != "bytes"}  # these can be written by anything

COMPONENT, WHOLE_URL = (
    "-_.!~*'()",
    "-_.!~*'();/?:@&=+$,#",
)  # what encodeURIComponent and encodeURI leave (ECMA-262, 19.2.6)
REQUESTS = "!#$%&'()*+,/:;=?@[]~"


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def lower(text: str) -> str:
    return re.sub("%..", lambda code: code[0].lower(), text)


def octal(text: str) -> str:
    return "".join(chr(byte) if 32 < byte < 127 and byte != 92 else f"\\{byte:03o}" for byte in utf8(text))


def hexadecimal(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in utf8(text))


def in_json(text: str, escaped: str = "<>&", **options: bool) -> str:
    """As Go and Django write it: with the characters of HTML escaped."""
    return re.sub(f"[{escaped}]", lambda each: f"\\u{ord(each[0]):04X}", json.dumps({"key": text}, **options))


def of_javascript(text: str) -> str:
    """As the old function escape does (ECMA-262, B.2.1.1): units of UTF-16."""
    data = text.encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    left = set(map(ord, string.ascii_letters + string.digits + "@*_+-./"))
    return "".join(chr(each) if each in left else f"%{each:02X}" if each < 256 else f"%u{each:04X}" for each in units)


def named(text: str) -> str:
    names = {ord(value): f"&{name}" for name, value in html.entities.html5.items() if len(value) == 1 and ";" in name}
    return text.translate({code: name for code, name in names.items() if not chr(code).isalnum() or code > 127})


def numbered(text: str, form: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else form.format(ord(each)) for each in text)


WRITERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "repr of a repr": lambda text: repr(repr(text)),
    "ascii": ascii,
    "repr of bytes": lambda text: repr(utf8(text)),
    "JSON": json.dumps,
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "JSON with UTF-8": lambda text: json.dumps([text], ensure_ascii=False),
    "JSON of Go": partial(in_json, ensure_ascii=False),
    "json_script": in_json,
    "JSON of PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON as JavaScript's pages have it": lambda text: in_json(text, "<>&'\u2028\u2029-"),
    "json_script of JSON": lambda text: in_json(json.dumps(text)),
    "YAML": lambda text: yaml.dump(text, default_style='"', width=10_000),
    "YAML with UTF-8": lambda text: yaml.dump(text, default_style='"', width=10_000, allow_unicode=True),
    "URL": quote,
    "component of a URL": lambda text: quote(text, safe=""),
    "encodeURIComponent": lambda text: quote(text, safe=COMPONENT),
    "encodeURI": lambda text: quote(text, safe=WHOLE_URL),
    "requests": lambda text: quote(text, safe=REQUESTS.replace("%", "")),
    "URL in small letters": lambda text: lower(quote(text, safe="")),
    "form": quote_plus,
    "form in small letters": lambda text: lower(quote_plus(text, safe="*")),
    "URL of a URL": lambda text: quote(quote(text)),
    "URL of JSON": lambda text: quote(json.dumps(text)),
    "escape": of_javascript,
    "html.escape": html.escape,
    "html.escape but quotes": lambda text: html.escape(text, quote=False),
    "markupsafe": lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "PHP": lambda text: html.escape(text).replace("&#x27;", "&#039;"),
    "HTML in ASCII": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "HTML of HTML": lambda text: html.escape(html.escape(text)),
    "HTML of JSON": lambda text: html.escape(json.dumps({"a": text})),
    "HTML of a URL": lambda text: html.escape("?a=1&b=" + quote(text)),
    "repr of HTML": lambda text: repr(html.escape(text)),
    "entities by name": named,
    "entities in decimal": lambda text: numbered(text, "&#{};"),
    "entities in hexadecimal": lambda text: numbered(text, "&#x{:X};"),
    "every character an entity": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "shlex": shlex.quote,
    "sh -x": lambda text: "'" + text.replace("'", "'\"'\"'") + "'",
    "a backslash before each": lambda text: re.sub(r"([^\w\n])", r"\\\1", text),
    "SQL": lambda text: "'" + text.replace("'", "''") + "'",
    "SQL, names": lambda text: '"' + text.replace('"', '""') + '"',
    "SQL of MySQL": lambda text: "'" + re.sub(r"(['\"\\])", r"\\\1", text).replace("\n", "\\n") + "'",
    "percent signs twice": lambda text: text.replace("%", "%%"),
    "percent signs twice, twice": lambda text: text.replace("%", "%%%%"),
    "repr with percent signs twice": lambda text: repr(text).replace("%", "%%"),
    "percent signs twice in JSON of Go": lambda text: in_json(text.replace("%", "%%"), ensure_ascii=False),
    "percent signs twice in HTML": lambda text: html.escape(text.replace("%", "%%")),
    "percent signs twice in a URL": lambda text: quote(text.replace("%", "%%")),
    "a URL with percent signs twice": lambda text: quote(text).replace("%", "%%"),
    "octal": octal,
    "hexadecimal": hexadecimal,
    "hexadecimal in a repr": lambda text: repr(hexadecimal(text)),
    "JavaScript": lambda text: "".join(f"\\u{{{ord(each):x}}}" for each in text),
    "long escapes": lambda text: "".join(f"\\U{ord(each):08x}" for each in text),
    "standard error in ASCII": lambda text: text.encode("ascii", "backslashreplace").decode(),
    "hex": lambda text: utf8(text).hex(),
    "HEX": lambda text: utf8(text).hex().upper(),
}
BEFORE = {"": b"", "one byte before": b"x", "two bytes before": b"xy"}
WHOLE = {  # nothing stands around these but what is named
    "as it is": "",
    "URL": "",
    "component of a URL": "",
    "encodeURIComponent": "",
    "form": "",
    "html.escape": "",
    "markupsafe": "",
    "json_script": '{"key": ""}',
    "JSON": '""',
    "JSON of Go": '{"key": ""}',
    "octal": "",
    "hexadecimal": "",
}


def pieces(secret: str) -> list[str]:
    """What must not be seen of a secret, however it is written: its runs of letters and digits."""
    return [piece for piece in re.findall(r"\w{5,}", secret) if piece not in ("script", "amp")]


def decoded(run: str) -> str:
    """What is in a piece of base64 that may begin within a group, or in one of hexadecimal."""
    digits = re.sub("[^0-9a-fA-F]", "", run)
    found = [bytes.fromhex(digits[: len(digits) // 2 * 2])]
    for skip in range(4):
        rest = run[skip:].rstrip("=")
        found.append(base64.urlsafe_b64decode(rest[: len(rest) // 4 * 4].translate(str.maketrans("+/", "-_"))))
    return "\n".join(each.decode(errors="replace") for each in found)


def shown(text: str, *secrets: str) -> str:
    return covered(text, forms((), secrets))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", TEXTS)
def test_every_writer_is_read(name: str, writer: str) -> None:
    secret = SECRETS[name]
    written = WRITERS[writer](secret)
    after = shown(f"before {written} behind", secret)
    assert HIDDEN in after and after.startswith("before ") and after.endswith(" behind"), after
    left = after.replace(HIDDEN, "").removeprefix("before ").removesuffix(" behind")
    around = WRITERS[writer]("") if writer not in ("every character an entity",) else ""
    if "percent signs twice" in writer:  # of two at its beginning or its end the one that it does not have may be left
        left = re.sub("%(25)?", "", left)
    # What may be left are the quotes around it, not the name of a key.
    assert len(left.replace("\\", "")) <= len(around.replace("\\", "")), (after, around)
    assert not [piece for piece in pieces(secret) if piece in after]
    if writer in WHOLE and name not in ("quotes around", "signs", "backslash"):
        assert left.replace("\\", "") == WHOLE[writer]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("name", SECRETS)
def test_base64_and_hexadecimal(name: str, before: str) -> None:
    """Wherever it stands in what was encoded; base64 in a URL, too."""
    secret = SECRETS[name]
    data = BEFORE[before] + utf8(secret) + b"rest"
    core = base64.b64encode(BEFORE[before] + utf8(secret)).decode().rstrip("=")[2 + len(before) // 8 : -2]
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        for written in (text, quote(text, safe=""), html.escape(text), json.dumps(text).replace("/", "\\/")):
            after = shown(f"<{written}>", secret)
            assert HIDDEN in after and core[4:-4] not in after and len(after) < 40, after
    assert shown(f"<{data.hex()}>", secret) == f"<{BEFORE[before].hex()}{HIDDEN}{b'rest'.hex()}>"


@pytest.mark.parametrize(
    "writer",
    [
        *("repr", "ascii", "repr of bytes", "JSON", "JSON with UTF-8", "html.escape", "shlex", "SQL"),
        *("URL", "component of a URL", "form", "standard error in ASCII", "percent signs twice"),
    ],
)
@pytest.mark.parametrize("name", TEXTS)
def test_base64_of_what_a_writer_wrote(name: str, writer: str) -> None:
    """As `b64encode(repr(dict(os.environ)))`: what decodes it finds nothing of the secret but the ends of it."""
    secret = SECRETS[name]
    for around in ("{}", "{}'", '{}"', "'\"{}"):  # a repr chooses its quotes by what else stands in it
        data = f"<{WRITERS[writer](around.format(secret))}>".encode()
        for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode(), data.hex()):
            after = shown(f"<{text}>", secret)
            assert HIDDEN in after, (around, text)
            left = [decoded(run) for run in re.split(r"\*{8}|[<>]", after)]
            assert not [piece for piece in pieces(secret) if any(piece in each for each in left)], (around, left)


@pytest.mark.parametrize("writer", ["repr", "ascii", "JSON", "repr of bytes", "octal", "hexadecimal", "as it is"])
def test_bytes_that_are_no_utf8(writer: str) -> None:
    """They stand in the environment of a process, and Python writes each as half a pair (PEP 383)."""
    secret = SECRETS["bytes"]
    assert shown(f"<{WRITERS[writer](secret)}>", secret).strip("<>b\"'") == HIDDEN
    url = quote(utf8(secret), safe="")
    assert shown(f"<{url}>", secret) == f"<{HIDDEN}>"


# --- shells ----------------------------------------------------------------------------------------------------

OF_BASH = {
    "-x": 'set -x; : "$SECRET" behind',
    "-x in a condition": 'set -x; [[ $SECRET == "$SECRET" ]] || true; case $SECRET in x) ;; esac',
    "set": "set",
    "declare": "declare -p SECRET",
    "printf": "printf '%q\\n' \"$SECRET\"",
    "a quoted expansion": 'printf "%s\\n" "${SECRET@Q}" "${SECRET@A}" "${SECRET@E}"',
    "export": "export -p",
    "posix": "set -o posix; set; export -p",
}


@cache
def said_by_bash(secret: str, words: str, locale: str) -> str:
    done = subprocess.run(
        ["/bin/bash", "-c", words],
        env={
            **{name: value for name, value in os.environ.items() if name == "PATH"},
            "LC_ALL": locale,
            "SECRET": secret,
        },
        capture_output=True,
        check=True,
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("how", OF_BASH)
@pytest.mark.parametrize("name", TEXTS)
def test_what_bash_says_by_itself(name: str, how: str, locale: str) -> None:
    secret = SECRETS[name]
    said = said_by_bash(secret, OF_BASH[how], locale)
    after = shown(said, secret)
    assert HIDDEN in after
    assert not [
        piece for piece in pieces(secret) if piece in after and piece not in said_by_bash("x", OF_BASH[how], locale)
    ]
    assert "c4n4ry" not in after


# --- any mixture -----------------------------------------------------------------------------------------------

ALPHABET = (
    string.ascii_letters
    + string.digits
    + string.punctuation
    + " \t\n\x1b\x07\xe9\xdf\xa7\u20ac\u0434\U0001f511"
    + "\\'\"%&+<>" * 3
)
LETTERS = {"\n": "n", "\t": "t", "\x1b": "e", "\x07": "a"}


def ways(each: str, rng: random.Random) -> str:
    """One character, written in one of the ways."""
    data = each.encode()
    written = [
        "".join(f"%{byte:02X}" for byte in data),
        "".join(f"%{byte:02x}" for byte in data),
        "".join(f"\\x{byte:02x}" for byte in data),
        "".join(f"\\{byte:03o}" for byte in data),
        f"\\U{ord(each):08X}",
        f"&#{ord(each)};",
        f"&#x{ord(each):x};",
        f"&#{ord(each):05};",
        json.dumps(each)[1:-1],
        html.escape(each),
    ]
    if ord(each) < 0x100 and not 0xC2 <= ord(each) < 0xF5:
        written.append(f"\\x{ord(each):02x}" if each.isascii() or ord(each) < 0x80 else f"&#{ord(each)};")
    if ord(each) < 0x10000:
        written.append(f"\\u{ord(each):04x}")
    if each == "%":
        written.append("%%")
    if each in "'\"\\":
        written += ["\\" + each, each * 2, f"'\\{each}'", f"'\"{each}\"'", "\\\\\\" + each]
    if each in LETTERS:
        written += ["\\" + LETTERS[each], "\\\\" + LETTERS[each]]
    if each == " ":
        written.append("+")
    if each.isascii() and not each.isalnum() and each.isprintable():
        written.append("\\" + each)
    return each if rng.random() < 0.5 else rng.choice(written)


def reads_otherwise(secret: str) -> bool:
    """Whether a secret holds what would be read as something else itself: whoever writes that mixes no ways in it."""
    return bool(re.search(r"%[0-9a-fA-Fu]|\\[0-3xuUE]|&[#\w]+;|[\xc3\xdf][\xa7\xa9]", secret))


@pytest.mark.parametrize("seed", range(40))
def test_any_mixture_of_ways_is_found(seed: int) -> None:
    rng = random.Random(seed)
    for _time in range(25):
        secret = "".join(rng.choices(ALPHABET, k=rng.randrange(12, 60)))
        if reads_otherwise(secret) or len(re.sub(r"[\\'\"]", "", secret.strip())) < 8 or secret != secret.strip():
            continue
        written = "".join(ways(each, rng) for each in secret)
        after = shown(f"( {written} )", secret)
        assert re.fullmatch(r"\( [\\'\"]*\*{8}[\\'\"]* \)", after), (secret, written, after)


@pytest.mark.parametrize("seed", range(20))
def test_any_nesting_of_writers_is_found(seed: int) -> None:
    rng = random.Random(seed)
    chosen = [
        WRITERS[each] for each in ("repr", "JSON", "URL", "markupsafe", "json_script", "shlex", "encodeURI", "ascii")
    ]
    for name, secret in TEXTS.items():
        written = secret
        for writer in rng.choices(chosen, k=3):
            written = writer(written)
        after = shown(f"<{written}>", secret)
        assert HIDDEN in after and not [piece for piece in pieces(secret) if piece in after], (name, written, after)


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("pass'word", "the password is no secret"),
        ("pass\\word", "the password is no secret"),
        ("con\ntents", "the contents of it"),
        ("five words in a row", "five, words in a row"),
        ("a+b-c+d-e+f", "a*b-c*d-e*f"),
        ("'''settings'''", "in settings, line 3"),
        ("%41%42%43%44", "the ABCD of it"),
        ("C:\\directory", "C:/directory C:directory"),
        ("-----BEGIN PRIVATE KEY-----\nZx9Yw8Vu7Ts6Rq5P\n-----END OF IT-----", "-----BEGIN PRIVATE -----"),
        ("postgresql://shop:Zx9Yw8Vu7Ts6@db.example.com/shop", "postgresql://shop: no such host db.example.com/shop"),
        ("words of a sentence that somebody took for a passphrase", "words of a sentence that is another one"),
        ("django-insecure-Zx9Yw8Vu7Ts6Rq5P0123", "django-insecure-something"),
        ('{"type": "service_account", "key": "Zx9Yw8Vu7Ts6Rq5P"}', '{"type": "service_account", "key": ""}'),
    ],
)
def test_what_is_no_secret_stays(secret: str, text: str) -> None:
    assert covered(text, forms((), [secret])) == text


# --- shortened values ------------------------------------------------------------------------------------------

LONG = "sk_live_51H8xYz9'Qk2\"Lm9Np4Rt7Vw0Bc3Df6Gh1Jk5M&8Qs2Ux4Za7"


@pytest.mark.parametrize("length", [12, 16, 20, 25, 28])
@pytest.mark.parametrize("writer", ["as it is", "repr", "JSON", "component of a URL", "markupsafe", "ascii"])
def test_the_beginning_and_the_end_of_a_long_secret(writer: str, length: int) -> None:
    write = WRITERS[writer]
    quotes = write("")
    assert telling(LONG) <= 16 and telling(LONG, backwards=True) <= 16
    if length < max(telling(LONG), telling(LONG, backwards=True)):
        return
    for text in (write(f"{LONG[:length]}...{LONG[-length:]}"), write(f"{LONG[:length]} {LONG[-length:]}")):
        after = shown(text, LONG)
        assert re.fullmatch(r"['\"]?\*{8}(\.\.\.| |%20)\*{8}['\"]?", after) and len(after) <= len(quotes) + 19, after


def test_fewer_characters_than_that_stay() -> None:
    assert shown(f"{LONG[:11]}...{LONG[-11:]}", LONG) == f"{LONG[:11]}...{LONG[-11:]}"
    assert shown("c4n4ry-0123...", "c4n4ry-0123456789-x") == "c4n4ry-0123...", "half of it tells too little"


# --- where a text was cut --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "writer", ["repr", "JSON", "component of a URL", "markupsafe", "octal", "ascii", "json_script"]
)
@pytest.mark.parametrize("name", ["quotes", "markup", "tab", "not ASCII", "emoji", "URL"])
def test_a_cut_through_a_code(name: str, writer: str) -> None:
    secret = SECRETS[name]
    written = WRITERS[writer](secret)
    for at in range(1, len(written) - 1):
        after = shown(f"before {written[:at]}{cut_mark(12345)}{written[at:]} behind", secret)
        left, right = after.split(cut_mark(12345))
        for each in (left, right):
            assert not re.search("c4n4|4ry", each), (at, after)


def test_a_cut_through_a_character() -> None:
    data = SECRETS["not ASCII"].encode()
    left, right = data[:2].decode(errors="replace"), data[2:].decode(errors="replace")
    assert shown(f"<{left}{cut_mark(9)}{right}>", SECRETS["not ASCII"]) == f"<{HIDDEN}{cut_mark(9)}{HIDDEN}>"


# --- time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "\\" * 1_000_000,
        "'" * 1_000_000,
        "%25" * 300_000,
        "%" * 1_000_000,
        ("hunter2-" + "%" * 50) * 20_000,
        "&amp;" * 200_000,
        "&" * 1_000_000,
        "%5C%75" * 150_000,
        "\\ud83d" * 150_000,
        "\\xc3" * 250_000,
        "x" * 1_000_000,
        "hunter2" * 150_000,
        "h" + "\\" * 1_000_000 + "unter2",
        ("hunter2-" + "'" * 50) * 20_000,
        "\udcff\ud83d" * 200_000,
        cut_mark(1) * 40_000,
        ("h" * 20 + cut_mark(1) + "h" * 20) * 20_000,
    ],
    ids=range(17),
)
def test_no_text_takes_more_than_its_length(text: str) -> None:
    known = forms(
        (), ["hunter2-'hunter2\\\\'hunter2", "h" * 30, "xxxxxxxx'xx", "\\'\\'\\'\\'abcdefgh", "%25%25%25%25%25"]
    )
    began = time.process_time()
    covered(text, known)
    assert time.process_time() - began < 15


def test_quotes_behind_a_secret_that_ends_with_one_stay() -> None:
    assert shown('{"a": "c4n4ry-0123\\"\\n"}', 'c4n4ry-0123"') == '{"a": "********\\n"}'


def test_secrets_of_quotes_alone_are_nobodys() -> None:
    assert covered('"""""""" \'', forms((), ["''''''''", '""""""""'])) == '"""""""" \''
