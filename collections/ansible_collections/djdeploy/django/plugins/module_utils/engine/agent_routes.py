# SPDX-License-Identifier: GPL-3.0-or-later
"""Which patterns of a URLconf name a path: one of them takes an address below it, and is made for that path.

No address is tried for it, since a pattern may want a number, a digest or an extension that nobody thinks of. Its
expression is walked over the path and on into a name that may be any. Where that is not certain, the walk goes on: it
finds a way too many, never one too few. A pattern is made for the path when a character of it is asked for by something
that takes few others: `media/<path:path>` is, `<slug:page>/` is not.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import functools
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

try:
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as parser

#: Parts of an expression that may take less than the walk finds ways for.
UNSURE = {"ASSERT", "ASSERT_NOT", "ATOMIC_GROUP", "GROUPREF", "GROUPREF_EXISTS", "POSSESSIVE_REPEAT"}
#: Words that no address of a project consists of; of each pair what follows is made.
WORDS = (("zqxj", "kv"), ("hb", "wgtf"), ("pyluc", "dnor"))
SHAPES = "{0} {0}/ {0}/{1} {0}/{1}/ {0}/{1}/{0} {0}/{1}/{0}/ {0}/{1}.pdf {0}/7 {0}/7/ {0}/{1}/7 {0}/{1}/7/ {0}.html"


class Unknown(Exception):
    """An expression holds what this file knows nothing of."""


class Point(NamedTuple):
    """Where a walk has come to.

    :param at: how many characters of the path are behind it; one more than there are: somewhere in a name below it.
    :param named: whether one of them was asked for by something that takes few others.
    :param moved: whether the present expression begins before it.
    """

    at: int
    named: bool
    moved: bool


@dataclass(frozen=True)
class Way:
    """What patterns, one included by the other, have in common with a path.

    :param place: the path, without its first slash.
    :param points: where they may end.
    :param parts: their expressions, and whether each has to take all that is left.
    :param unsure: whether they look around or back, so that they may want less than the walk believes.
    """

    place: str
    points: frozenset[Point] = frozenset({Point(0, False, False)})
    parts: tuple[tuple[re.Pattern[str], bool], ...] = ()
    unsure: bool = False

    def along(self, pattern: Any) -> Way:
        """The way on by a pattern of Django's: RoutePattern, RegexPattern or LocalePrefixPattern."""
        from django.urls.resolvers import LocalePrefixPattern, RegexPattern

        if isinstance(pattern, LocalePrefixPattern):
            return self.over(pattern.language_prefix)
        regex = getattr(pattern, "regex", None)
        if not isinstance(regex, re.Pattern):
            return self.anywhere()
        # As RegexPattern.match does it.
        ends = isinstance(pattern, RegexPattern) and pattern._is_endpoint and regex.pattern.endswith("$")
        return self.by(regex, ends)

    def over(self, prefix: str) -> Way:
        """The way on over letters that name nothing: those of a language."""
        end = len(self.place)
        points = {
            Point(end + 1 if at > end else at + len(prefix), named, False)
            for at, named, _moved in self.points
            if at > end or self.place.startswith(prefix, at)
        }
        return Way(self.place, frozenset(points), self.parts, self.unsure)

    def by(self, regex: re.Pattern[str], whole: bool = False) -> Way:
        """The way on by an expression.

        :param whole: whether it has to take all that is left; else it may begin and end anywhere, as re.search has it.
        """
        walked = walk_by(self.place, self.points, regex, whole)
        if walked is None:
            return self.anywhere()
        points, unsure = walked
        return Way(self.place, points, (*self.parts, (regex, whole)), self.unsure or unsure)

    def anywhere(self) -> Way:
        """The way on by what may take anything and may be made for this path."""
        points = {Point(at, True, True) for at in range(len(self.place) + 2)}
        return Way(self.place, frozenset(points), self.parts, self.unsure)

    def names(self) -> bool:
        """Whether the patterns take a name below the path, and are made for it.

        Those that look around may be, though all they ask for is `.*`: they are not when they take what is of no path.
        """
        if any(each.named for each in self.points):
            return True
        return bool(self.points) and self.unsure and not self.take_anything()

    def take_anything(self) -> bool:
        words = [pair for pair in WORDS if not any(word in self.place for word in pair)]
        return all(any(fit(self.parts, shape.format(*pair)) for shape in SHAPES.split()) for pair in words)


@functools.cache  # in another language most patterns are the same
def walk_by(
    place: str, begins: frozenset[Point], regex: re.Pattern[str], whole: bool
) -> tuple[frozenset[Point], bool] | None:
    """Where an expression leads to, and whether that is unsure; None: it is not understood."""
    last = len(place) + 1
    starts = {Point(at, named, False) for at, named, _moved in begins}
    try:
        walk = Walk(place, regex)
        if not whole and not walk.anchored(regex.flags):
            starts |= {Point(to, named, True) for at, named, _moved in starts for to in range(at + 1, last + 1)}
        points = frozenset().union(*(walk.through(walk.tree, regex.flags, each) for each in starts))
    except (Unknown, RecursionError, re.error):
        return None
    return frozenset(each for each in points if each.at == last) if whole else points, walk.unsure


def fit(parts: Sequence[tuple[re.Pattern[str], bool]], address: str) -> bool:
    """Whether expressions take an address one after the other, as URLResolver.resolve has it.

    They are not matched by `re`, which may take as long as it likes for it.
    """
    if not parts:
        return True
    (regex, whole), *rest = parts
    try:
        walk = Walk(address, regex, known=True)
        begins = [Point(at, False, at > 0) for at in range(1 if whole else len(address) + 1)]
        ends = {point.at for each in begins for point in walk.through(walk.tree, regex.flags, each)}
    except (Unknown, RecursionError):
        return False
    return any(fit(rest, address[end:]) for end in ends if not whole or end == len(address))


class Walk:
    """One expression on its way along a path.

    Each part of it is asked once for each point, so nothing takes longer than the product of the two.

    :param known: whether the path is a whole address, and not what a name of a file follows.
    """

    def __init__(self, place: str, regex: re.Pattern[str], known: bool = False) -> None:
        self.place = place
        self.whole = known
        self.end = len(place)
        self.tree = parser.parse(regex.pattern, regex.flags)
        self.unsure = False
        self.found: dict[tuple[int, int, Point], frozenset[Point]] = {}  # by the id of what `tree` keeps alive
        self.telling = any(char.isalnum() for char in place)

    def anchored(self, flags: int) -> bool:
        """Whether it says first of all that it is at the beginning; most do, and need not be tried elsewhere."""
        first = [value.name for kind, value in self.tree[:1] if kind.name == "AT"]
        begins = bool(first) and first[0] in ("AT_BEGINNING", "AT_BEGINNING_STRING")
        return begins and not self.holds(first[0], flags, Point(0, False, True))

    def through(self, items: Any, flags: int, point: Point) -> frozenset[Point]:
        """Where a sequence leads to."""
        key = (id(items), flags, point)
        if key not in self.found:
            points = frozenset({point})
            for kind, value in items:
                points = frozenset().union(*(self.step(kind.name, value, flags, each) for each in points))
            self.found[key] = points
        return self.found[key]

    def step(self, kind: str, value: Any, flags: int, point: Point) -> frozenset[Point]:
        """Where one part of an expression leads to.

        :raises Unknown: when it is none of those of Python 3.10 to 3.14.
        """
        self.unsure |= kind in UNSURE
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self.character(kind, tuple(value) if kind == "IN" else value, flags, point)
        if kind == "AT":
            return frozenset({point} if self.holds(value.name, flags, point) else ())
        if kind == "SUBPATTERN":
            _group, more, less, inner = value
            return self.through(inner, (flags | more) & ~less, point)
        if kind in ("ASSERT", "ASSERT_NOT"):
            fits = not self.whole or self.looks(value, flags, point) is (kind == "ASSERT")
            return frozenset({point} if fits else ())
        if kind == "BRANCH":
            return frozenset().union(*(self.through(each, flags, point) for each in value[1]))
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            return self.repeated(value, flags, point)
        if kind == "FAILURE":
            return frozenset()
        if self.whole:
            raise Unknown(kind)  # what they take, this walk finds ways too many for
        if kind == "ATOMIC_GROUP":
            return self.through(value, flags, point)
        if kind == "POSSESSIVE_REPEAT":
            return self.repeated(value, flags, point)
        if kind == "GROUPREF":
            return frozenset({point, *(Point(at, point.named, True) for at in range(point.at, self.end + 2))})
        if kind == "GROUPREF_EXISTS":
            _group, yes, no = value
            return self.through(yes, flags, point) | (self.through(no, flags, point) if no else {point})
        raise Unknown(kind)

    def looks(self, value: Any, flags: int, point: Point) -> bool:
        """Whether something stands behind a point of a whole address, or before it."""
        direction, inner = value
        if direction > 0:
            return bool(self.through(inner, flags, point))
        begins = (Point(at, False, at > 0) for at in range(point.at + 1))
        return any(each.at == point.at for begin in begins for each in self.through(inner, flags, begin))

    def repeated(self, value: Any, flags: int, point: Point) -> frozenset[Point]:
        least, most, inner = value

        def again(points: Iterable[Point]) -> frozenset[Point]:
            return frozenset().union(*(self.through(inner, flags, each) for each in points))

        found = frozenset({point})
        for _time in range(min(least, self.end + 3)):  # after so many, another one changes nothing
            found = again(found)
        fresh, left = found, int(most) - least
        while fresh and left:
            fresh, left = again(fresh) - found, left - 1
            found |= fresh
        return found

    def holds(self, kind: str, flags: int, point: Point) -> bool:
        """Whether it may be true of a point that a text, or a word, begins or ends there."""
        many = flags & re.MULTILINE and not self.whole
        if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return not point.moved or bool(many and kind == "AT_BEGINNING")
        if kind in ("AT_END", "AT_END_STRING"):
            return point.at == self.end + (not self.whole) or bool(many and kind == "AT_END")
        if kind not in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
            raise Unknown(kind)
        self.unsure = True
        around = [each.isalnum() or each == "_" for each in f" {self.place} "[point.at : point.at + 2]]
        return not self.whole or (len(set(around)) == 2) is (kind == "AT_BOUNDARY")

    def character(self, kind: str, value: Any, flags: int, point: Point) -> frozenset[Point]:
        if point.at >= self.end and self.whole:
            return frozenset()
        if point.at >= self.end:
            begins_with_slash = point.at == self.end and (kind, value) == ("LITERAL", ord("/"))
            return frozenset(() if begins_with_slash else {Point(self.end + 1, point.named, True)})
        char = self.place[point.at]
        if not takes(kind, value, flags, char):
            return frozenset()
        named = char.isalnum() if self.telling else char != "/"
        named = named and not all(takes(kind, value, flags, each) for each in of_its_kind(char))
        return frozenset({Point(point.at + 1, point.named or named, True)})


def of_its_kind(char: str) -> str:
    kinds = (string.digits, string.ascii_uppercase)
    return next((kind for kind in kinds if char in kind), string.ascii_lowercase)


@functools.cache
def takes(kind: str, value: Any, flags: int, char: str) -> bool:
    """Whether a part of an expression takes a character.

    :raises Unknown: when it is none of those of Python 3.10 to 3.14.
    """
    if kind == "ANY":
        return True
    forms = forms_of(char, flags)
    if kind in ("LITERAL", "NOT_LITERAL"):
        return bool(forms & forms_of(chr(value), flags)) is (kind == "LITERAL")
    wanted = True
    for each, what in value:
        if each.name == "NEGATE":
            wanted = False
        elif each.name == "LITERAL":
            if forms & forms_of(chr(what), flags):
                return wanted
        elif each.name == "RANGE":
            if any(what[0] <= ord(form) <= what[1] for form in forms):
                return wanted
        elif each.name == "CATEGORY":
            if re.match(category(what.name), char, flags & re.ASCII):
                return wanted
        else:
            raise Unknown(each.name)
    return not wanted


def forms_of(char: str, flags: int) -> set[str]:
    """A character and, where case is ignored, what else it is as good as."""
    if not flags & re.IGNORECASE:
        return {char}
    return {char, *(form for form in (char.lower(), char.upper()) if len(form) == 1)}


def category(name: str) -> str:
    letters = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
    plain = name.removeprefix("CATEGORY_")
    letter = letters.get(plain.removeprefix("NOT_"))
    if letter is None:
        raise Unknown(name)
    return letter.upper() if plain.startswith("NOT_") else letter


def that_name(place: str, patterns: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The patterns of a URLconf that name a path, in order: the whole route of each, as a match tells it, and its view.

    :param place: begins and ends with a slash.
    """
    return below(Way(place[1:]), patterns, "")


def below(way: Way, patterns: Iterable[Any], before: str) -> Iterator[tuple[str, Any]]:
    """The patterns that name the path, by their whole route, and the view of each.

    :param way: what the patterns these are included by have in common with the path.
    :param before: the route of those.
    """
    for each in patterns:
        on = way.along(each.pattern)
        if not on.points:
            continue
        own = str(each.pattern)
        route = before + (own.removeprefix("^") if before else own)
        if hasattr(each, "url_patterns"):
            yield from below(on, each.url_patterns, route)
        elif on.names():
            yield route, each.callback


def translated(patterns: Iterable[Any]) -> bool:
    """Whether one of the patterns of a URLconf is another in another language (`path(_("files/"), ...)`)."""
    for each in patterns:
        own = getattr(each.pattern, "_route", getattr(each.pattern, "_regex", ""))
        if not isinstance(own, str) or (hasattr(each, "url_patterns") and translated(each.url_patterns)):
            return True
    return False
