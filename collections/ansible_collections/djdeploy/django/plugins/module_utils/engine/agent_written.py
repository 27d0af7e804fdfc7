# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds known texts in another text, in whatever way programs wrote them there.

A program that writes a text chooses for each character whether to write it as it is or in another way, and no two
choose alike: requests leaves `'` in a URL, Django does not; Go writes `<` into JSON as `\\u003c`, Python does not. So
nothing here knows a program. It knows in which ways one character may be written, and finds any mixture of them:

- by its code or its bytes in UTF-8: `%27`, `\\x27`, `\\047`, `\\u0027`, `\\U00000027`, `\\u{27}`, `&#39;`, `&#x27;`,
  `&apos;`. These are read, and the search is made in what comes out, as often as `READINGS` says: they stand within
  one another.
- by quoting: with any backslashes and quotes before it, as in `\\'`, `''`, `'\\''` and `'"'"'`; a line end or another
  control character as a letter behind a backslash; a blank as `+`; a percent sign as two.

Everything here works on UTF-8, takes time in proportion to the length of the text, and none of its functions changes
or asks anything outside.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html.entities import html5
from itertools import compress
from typing import NamedTuple

READINGS = 3  # how deep codes are looked for within codes, as in `%2526%2523%2533%2539%253B`
SHORTEST_VARIANT = 8  # characters of a known text that was read once more itself
SHORTEST_RUN = 12  # characters of a text's beginning or end that count as that text
LONGEST_RUN = 64
ODD_IN_RUN = 8  # of them, characters in pieces that read as no words
CUT = re.compile(rb"\[\.\.\. (?:\d+|some) bytes left out \.\.\.\]")  # as `cut_mark` of agent_secrets.py writes it
MARKS = 4  # of an output's beginning and of its end that are looked at
LONGEST_HALF = 8192  # bytes of a text that is looked for where another one was cut
LONGEST_CODE = 30  # bytes of a character of which a cut may have left a part
ENOUGH_AT_CODE = 4  # characters of a text before or behind such a part
BETWEEN_WORDS = re.compile(r"[\s./:@,;_+=()\[\]{}<>'\"*&|#!?-]+")
WORD = re.compile(r"(?:[A-Z]{1,20}|(?:[A-Z]?[a-z]{1,20}){1,4})?\d{0,2}|\d{1,5}")

# A percent sign is quoted by another one (SQL's parameters, logging, INI files); whether `%%27` is that or a percent
# sign before an apostrophe in a URL, nobody can tell, so it counts as quoting rather than as a code.
QUOTING = b"\\'\"%"
BACKSLASH = ord("\\")
BLANKS = b" +"
# Written behind a backslash (Python, JSON, C, the $'..' of bash); a known text may hold the character itself.
LETTERS = dict(zip(b"\n\t\r\a\b\v\f\x1b\0", b"ntrabvfe0"))  # noqa: B905  # as long as one another
# What one way of quoting or another leaves of a text: what comes out the same is compared character by character.
FOLDED = bytes(LETTERS.get(byte, ord(" ") if byte == ord("+") else byte) for byte in range(256))
KEPT = bytes(byte not in QUOTING for byte in range(256))
HEX_PAIR, OCTAL_BYTE = re.compile(rb"[0-9a-fA-F]{2}"), re.compile(rb"[0-7]{3}")


def in_bytes(lead: str, two: str, three: str, four: str, following: str, single: str) -> str:
    """The pattern of one character in the bytes of its UTF-8 (RFC 3629, 3), each behind the same lead, or of one byte.

    :param lead: what stands before each byte but the first.
    """
    return f"{two}{lead}{following}|{three}(?:{lead}{following}){{2}}|{four}(?:{lead}{following}){{3}}|{single}"


HEX = ("[cCdD]H", "[eE]H", "[fF][0-7]", "[89abAB]H", "HH")
OCTAL = ("3[0-3][0-7]", "3[45][0-7]", "36[0-7]", "2[0-7][0-7]", "[0-3][0-7][0-7]")
IN_URL, IN_HEX, IN_OCTAL = in_bytes("%+", *HEX), in_bytes(r"\\+x", *HEX), in_bytes(r"\\+", *OCTAL)
# Each way begins with a character of its own, which lets `re` skip all the others.
CODE = re.compile(
    (
        rf"%(?:(?P<url>{IN_URL})|u(?P<halves>[dD][89abAB]HH%u[dD][c-fC-F]HH)|u(?P<javascript>HHHH))"
        rf"|\\(?:x(?P<hex>{IN_HEX})|(?P<octal>{IN_OCTAL})"
        r"|u(?P<pair>[dD][89abAB]HH\\+u[dD][c-fC-F]HH)|u(?P<short>HHHH)|U(?P<long>H{8})|u\{(?P<braced>H{1,6})\}"
        r"|(?P<escape>E))"  # of bash
        r"|&(?:#(?P<decimal>[0-9]{1,7})|#[xX](?P<entity>H{1,6})|(?P<name>[A-Za-z][0-9A-Za-z]{1,30}));"
        "|\xed(?P<lone>[\xb2\xb3][\x80-\xbf])"  # a byte that was no UTF-8, as Python keeps it (PEP 383)
    )
    .replace("H", "[0-9a-fA-F]")
    .encode("latin-1")
)
# What a cut may leave of codes in front of it, of all the bytes of one character but the last.
BEGUN = re.compile(rb"[%\\&\xc2-\xf4](?=[\w%\\&#{}\x80-\xff]*\Z)")
REPLACEMENT = "\ufffd".encode()  # what a decoder makes of such a part


# --- reading codes ---------------------------------------------------------------------------------------------


def encoded_in_utf8(text: str) -> bytes:
    """Any text, also one with halves of pairs, so that decoding gives it back."""
    return text.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=4096)
def character(way: str, written: bytes) -> bytes | None:
    """What a code stands for; None where it stands for nothing."""
    if way in ("url", "hex", "octal"):
        base, found = (8, OCTAL_BYTE) if way == "octal" else (16, HEX_PAIR)
        data = bytes(int(each, base) for each in found.findall(written))
        try:
            data.decode()
        except UnicodeDecodeError:  # the number of a character in Latin-1, as in a repr
            return data.decode("latin-1").encode()
        return data
    if way == "name":
        known = html5.get(written.decode() + ";")
        return known.encode() if known else None
    if way in ("pair", "halves"):
        high, low = int(written[:4], 16), int(written[-4:], 16)
        return chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00).encode()
    if way == "lone":
        return chr((written[0] & 3) << 6 | written[1] & 0x3F).encode()
    if way == "escape":
        return b"\x1b"
    code = int(written, 10 if way == "decimal" else 16)
    return encoded_in_utf8(chr(code)) if code <= 0x10FFFF else None


class Reading(NamedTuple):
    """A text in which codes were read, and where in the one before it each of them stood.

    :param starts: where the characters begin that were codes; with `ends` where they end.
    :param began: where the codes began; with `ended` where they ended.
    """

    data: bytes
    starts: array[int]
    ends: array[int]
    began: array[int]
    ended: array[int]

    def before(self, start: int, stop: int) -> tuple[int, int]:
        """Where a piece of this text stands in the one before."""
        return self._place(start)[0], self._place(stop - 1)[1]

    def _place(self, at: int) -> tuple[int, int]:
        number = bisect_right(self.starts, at) - 1
        if number < 0:
            return at, at + 1
        if at < self.ends[number]:
            return self.began[number], self.ended[number]
        place = at - self.ends[number] + self.ended[number]
        return place, place + 1


def read(data: bytes) -> Reading | None:
    """A text with its codes read, once; None where it has none."""
    parts: list[bytes] = []
    starts, ends, began, ended = (array("Q") for _each in range(4))  # millions of objects would slow the process down
    at = end = 0
    for match in CODE.finditer(data):
        way = match.lastgroup or ""
        said = character(way, match[way])
        if said is None:
            continue
        start, stop = match.span()
        at += start - end
        starts.append(at)
        at += len(said)
        ends.append(at)
        began.append(start)
        ended.append(stop)
        parts.append(data[end:start])
        parts.append(said)
        end = stop
    return Reading(b"".join([*parts, data[end:]]), starts, ends, began, ended) if parts else None


def readings(data: bytes) -> Iterator[Reading]:
    """A text with its codes read once, twice, ..."""
    for _time in range(READINGS):
        reading = read(data)
        if reading is None:
            return
        yield reading
        data = reading.data


# --- what is looked for ----------------------------------------------------------------------------------------


class Clue(NamedTuple):
    """What is looked for first, and how to go on from there.

    :param folded: a text, or its beginning or end, without what programs write in different ways; see `folded`.
    :param text: the whole text.
    :param backwards: whether it is the end.
    :param enough: bytes of the text that have to be there.
    """

    folded: bytes
    text: bytes
    backwards: bool
    enough: int


class Known(NamedTuple):
    """Everything that is looked for, in tables.

    :param wholes: each text folded, for what a cut left of one.
    """

    indexes: list[Index]
    wholes: list[bytes]


class Index(NamedTuple):
    """Clues by their beginnings.

    Each clue has at least `width` bytes, so a text needs to be looked at in every `step`-th place only: of whatever
    stands in it, `size` bytes are seen there.
    """

    width: int
    step: int
    size: int
    pieces: frozenset[bytes]
    clues: dict[bytes, list[Clue]]

    def found(self, data: bytes) -> Iterator[tuple[int, Clue]]:
        """Every place where a clue begins."""
        step, size, pieces, width = self.step, self.size, self.pieces, self.width
        for seen in [at for at in range(0, len(data) - size + 1, step) if data[at : at + size] in pieces]:
            for at in range(max(0, seen - step + 1), seen + 1):
                for clue in self.clues.get(data[at : at + width], ()):
                    if data.startswith(clue.folded, at):
                        yield at, clue


def folded(data: bytes) -> bytes:
    """A text without `QUOTING`, its blanks and control characters as quoting leaves them."""
    return data.translate(FOLDED, QUOTING)


def index_of(clues: list[Clue]) -> Index:
    width = min(len(clue.folded) for clue in clues)
    size = min(width, max(3, width // 2))
    step = width - size + 1
    table: dict[bytes, list[Clue]] = {}
    for clue in clues:
        table.setdefault(clue.folded[:width], []).append(clue)
    pieces = frozenset(beginning[at : at + size] for beginning in table for at in range(step))
    return Index(width, step, size, pieces, table)


@lru_cache(maxsize=8)
def known(texts: tuple[str, ...]) -> Known:
    """The tables for these texts."""
    wholes = {variant: None for text in texts for variant in variants(text)}
    clues = list({clue: None for variant in wholes for clue in clues_of(variant)})
    short = [clue for clue in clues if len(clue.folded) < SHORTEST_VARIANT]
    long = [clue for clue in clues if len(clue.folded) >= SHORTEST_VARIANT]
    bare = dict.fromkeys(folded(encoded_in_utf8(variant)) for variant in wholes)
    return Known([index_of(group) for group in (short, long) if group], list(filter(None, bare)))


def variants(text: str) -> Iterator[str]:
    """A text as it is, and with the codes read that stand in it itself: in a text that is read they are, too."""
    data = encoded_in_utf8(text)
    found = [data, *(reading.data for reading in readings(data))]
    if not text.isascii():  # two characters in a repr may read as the bytes of one
        found += [reading.data for reading in readings(text.encode("ascii", "backslashreplace"))]
    for variant in (each.decode("utf-8", "surrogatepass") for each in dict.fromkeys(found)):
        if variant == text or len(variant.strip()) >= SHORTEST_VARIANT:
            yield variant


def clues_of(text: str) -> Iterator[Clue]:
    """By what a text is found: by its beginning and its end where those tell, else as a whole."""
    data = encoded_in_utf8(text)
    run = telling(text)
    if run:
        beginning = encoded_in_utf8(text[:run])
        yield Clue(folded(beginning), data, False, len(beginning))
    elif folded(data):
        yield Clue(folded(data), data, False, len(data))
    run = telling(text, backwards=True)
    if run:
        end = encoded_in_utf8(text[-run:])
        yield Clue(folded(end), data, True, len(end))


def telling(text: str, *, backwards: bool = False) -> int:
    """How many characters of a text's beginning, or of its end, belong to this text and no other; 0 where none do.

    They are less than half of the text, and have `ODD_IN_RUN` characters in pieces that are neither words nor small
    numbers: many keys begin with `-----BEGIN`, many addresses with `postgresql://`, and those are to stay.
    """
    for length in range(SHORTEST_RUN, min(LONGEST_RUN, (len(text) - 1) // 2) + 1):
        run = text[-length:] if backwards else text[:length]
        odd = sum(len(piece) for piece in BETWEEN_WORDS.split(run) if not WORD.fullmatch(piece))
        if odd >= ODD_IN_RUN:
            return length
    return 0


# --- looking ---------------------------------------------------------------------------------------------------


def places(text: bytes, texts: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where any of the texts stands in this one, in order; they may overlap."""
    tables = known(texts)
    spans = list(found_in(text, tables))
    passed: list[Reading] = []
    for reading in readings(text):
        passed.append(reading)
        for start, stop in found_in(reading.data, tables):
            for each in reversed(passed):
                start, stop = each.before(start, stop)
            spans.append((start, stop))
    return sorted((with_backslashes(text, start), stop) for start, stop in spans)


def with_backslashes(text: bytes, start: int) -> int:
    """Where the quoting of the character begins that stands here; letters and digits are quoted by none."""
    while start and text[start - 1] == BACKSLASH and not text[start : start + 1].isalnum():
        start -= 1
    return start


def found_in(data: bytes, tables: Known) -> Iterator[tuple[int, int]]:
    """Where known texts stand, with any quoting but no codes; what is left of one at a cut as well."""
    bare = folded(data)
    kept: array[int] | range = range(len(data))
    if len(bare) < len(data):
        kept = range(0)  # until it is needed
    for index in tables.indexes:
        for at, clue in index.found(bare):
            if not kept:
                kept = array("I", compress(range(len(data)), data.translate(KEPT)))
            span = extent(data, kept[at + len(clue.folded) - 1 if clue.backwards else at], clue)
            if span:
                yield span
    if CUT.search(data):
        yield from halves(data, tables.wholes)


def extent(data: bytes, at: int, clue: Clue) -> tuple[int, int] | None:
    """How much of a text stands here; None where it is less than enough.

    :param at: where the first character of the text stands that is none of `QUOTING`; of its end, the last one.
    """
    text = clue.text
    as_it_is = at - len(text) + 1 if clue.backwards else at
    if as_it_is >= 0 and data.startswith(text, as_it_is):
        return as_it_is, as_it_is + len(text)
    step = -1 if clue.backwards else 1
    outer = range(len(text))[::step]
    first = next(place for place in outer if text[place] not in QUOTING)
    edge = skipped(data, at - step, -step, text[:first] if step > 0 else text[first + 1 :])
    if edge is None:
        return None
    last, end = walk(data, at, text, first, step)
    if (end if step > 0 else len(text) - 1 - end) < clue.enough:
        return None
    start, stop = (edge, last) if step > 0 else (last, edge)
    while start and data[start] != text[0] and text[0] in LETTERS and data[start - 1] == BACKSLASH:
        start -= 1  # of `\\n`
    return start, stop + 1


def skipped(data: bytes, at: int, step: int, quotes: bytes) -> int | None:
    """The last place where one of these stands in the quoting that begins here.

    :param at: where to begin.
    :param quotes: those of the text; where it has none, those that are here are not its own.
    :returns: the place before `at` where the text has none, and None where it has some and there are none of these.
    """
    if not quotes:
        return at - step
    last = None
    while 0 <= at < len(data) and data[at] in QUOTING:
        if data[at] in quotes:
            last = at
        at += step
    return last


def walk(data: bytes, at: int, text: bytes, first: int, step: int) -> tuple[int, int]:
    """Go along a text and what was found of it, as long as they agree.

    :param at: where the character `first` of the text stands.
    :param step: 1 to go forwards, -1 to go back.
    :returns: the last place that agrees, and the number of the character of the text that does not.
    """
    last, wanted = at, first
    end_of_text, end_of_data = (len(text), len(data)) if step > 0 else (-1, -1)
    while wanted != end_of_text:
        behind = wanted
        while behind != end_of_text and text[behind] in QUOTING:
            behind += step
        if behind != wanted:
            quotes = text[wanted:behind] if step > 0 else text[behind + 1 : wanted + 1]
            edge = skipped(data, at, step, quotes)
            if edge is None:
                break
            at, last, wanted = edge + step, edge, behind
            continue
        while wanted != first and at != end_of_data and data[at] in QUOTING:
            at += step
        if at == end_of_data or not same(text[wanted], data, at):
            break
        last = at
        at += step
        wanted += step
    return last, wanted


def same(wanted: int, data: bytes, at: int) -> bool:
    """Whether a character stands here, quoted or not."""
    there = data[at]
    if there == wanted or (wanted in BLANKS and there in BLANKS):
        return True
    return LETTERS.get(wanted) == there and at > 0 and data[at - 1] == BACKSLASH


# --- where a text was cut --------------------------------------------------------------------------------------


def halves(data: bytes, wholes: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Where the beginning of a text stands right before a cut, and the end of one right behind it.

    The cut may go through a code: what is left of one is passed over.
    """
    cuts = list(CUT.finditer(data))
    # Ours stand one in a line and one in an output; a project may print as many of them as it likes.
    for cut in (*cuts[:MARKS], *cuts[MARKS:][-MARKS:]):
        left, right = data[max(0, cut.start() - LONGEST_HALF) : cut.start()], data[cut.end() :][:LONGEST_HALF]
        begun = BEGUN.finditer(left, max(0, len(left) - LONGEST_CODE))
        for stop in (len(left), *(match.start() for match in begun)):
            bare = folded(left[:stop])
            count = max((overlap(bare, whole) for whole in wholes), default=0)
            if count >= (ENOUGH_AT_CODE if left[stop:].replace(REPLACEMENT, b"") else 1):
                yield cut.start() - len(left) + length_of(left[:stop], -count), cut.start()
        for skip in range(min(LONGEST_CODE, len(right)) + 1):
            bare = folded(right[skip:])
            count = max((overlap(whole, bare) for whole in wholes), default=0)
            if count >= (ENOUGH_AT_CODE if right[:skip].replace(REPLACEMENT, b"") else 1):
                yield cut.end(), cut.end() + skip + length_of(right[skip:], count)


def length_of(data: bytes, count: int) -> int:
    """Where in a text the first so many characters end that are no quoting; where the last ones begin, if negative."""
    there = [at for at, byte in enumerate(data) if byte not in QUOTING]
    return there[count] if count < 0 else there[count - 1] + 1


def overlap(first: bytes, second: bytes) -> int:
    """How many characters the end of one text has in common with the beginning of another one."""
    at = first.find(second[:4], max(0, len(first) - len(second)))
    while at >= 0 and len(first) - at >= 4:
        if second.startswith(first[at:]):
            return len(first) - at
        at = first.find(second[:4], at + 1)
    return next((count for count in (3, 2, 1) if first.endswith(second[:count]) and len(second) >= count), 0)
