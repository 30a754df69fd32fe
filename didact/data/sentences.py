"""Where sentences begin and end: a small splitter by rules, for English and Chinese first and other languages fairly.

A sentence ends

- at a blank line, and at every line break where lines are paragraphs;
- after 。！？； and the full stops of scripts that have one of their own (। ۔ ؟ ። ។ ။ …), with the quotes and brackets
  that close there, unless a comma or the like follows (“！”，他说);
- after . ! ? … with what closes there, where white space follows (or, after ! and ?, a character of Chinese, Japanese
  or Korean) and then something that is not a small letter. In a text without capitals small letters will do, and so
  they will after a full stop that stands apart ("a film . it").

A full stop ends none after a title or the like ("Dr."), an initial, a number that opens a line ("1."), before a number
in "No. 5" and "Fig. 2", nor after "U.S.", "Inc." or "a.m." unless the next word commonly opens a sentence.
"""

from __future__ import annotations

import re

Span = tuple[int, int]

_ALWAYS = "。！？；｡।॥؟۔።፧។៕။"
_STOPS = f".!?…‼⁇⁈⁉։{_ALWAYS}"
_CLOSERS = "\"'”’»›)]}」』）】》〉〕］｝﹂﹄＂＇"
_OPENERS = "\"'“‘«‹([{「『（【《〈〔［｛¿¡-–—*_"
_CONTINUES = "，、：,;:；"
# Begins with one set of characters, which is what `re` scans fast. A line break, or stops and what closes after them.
_END = re.compile(
    rf"[{_STOPS}\n](?:(?<=\n)\s*|(?P<stops>[{_STOPS}]*(?: [{_STOPS}]+)*)"
    rf"(?P<closers>[{re.escape(_CLOSERS)}]*)(?P<space>\s*))"
)
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
_LONGEST_ABBREVIATION = 12
_FIRST_WORD = re.compile(r"\w+(?:['’]\w+)?")
_ACRONYM = re.compile(r"(?:\w\.)+\w\Z")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the end of a sentence.
_TITLES = _words("""
    mr mrs ms messrs mme mlle dr prof st ste mt ft rev fr gen sen rep gov lt col maj capt cpt cmdr adm sgt cpl pvt hon
    pres supt insp atty mgr msgr hr hrn vs viz cf ca approx resp incl dept univ e.g i.e eg ie bzw z.b d.h
""")
# No end before a number.
_BEFORE_NUMBER = _words("""
    no nos nr num fig figs eq eqs eqn sec sect vol vols p pp ch chap ref refs art par para tab ed ver v ex op ser
    jan feb mar apr jun jul aug sep sept oct nov dec
""")
# An end only where the next word commonly opens a sentence. Acronyms with full stops inside (U.S, a.m, Ph.D) too.
_PERHAPS = _words("inc ltd co corp bros llc plc jr sr esq etc al ave blvd rd bldg est")
_OPENING_WORDS = _words("""
    a an the this that these those it its it's he she they we i you there here his her their our my in on at as if
    when while after before since although though because however but and so or yet for from by with to what who why
    how where which not no yes all some many most several such then thus once now also meanwhile
""")


def split(text: str, breaks: bool = True) -> list[Span]:
    """The sentences of a text: [start, end) characters, in order, with no white space at either end.

    Every character that is not white space is in exactly one of them. breaks: each line break ends a sentence; where
    False only a blank line does (text wrapped to a width).
    """
    spans: list[Span] = []
    small = not any(c.isupper() for c in text)
    start = len(text) - len(text.lstrip())
    for match in _END.finditer(text, start):
        space = match["space"]
        if space is None:  # a line break
            ends, end = breaks or match[0].count("\n") > 1, match.start()
        else:
            end = match.end("closers")
            ends = space.count("\n") > (0 if breaks else 1) or _is_end(text, start, match, small)
        if ends:
            if span := _trimmed(text, start, end):
                spans.append(span)
            start = match.end()
    if span := _trimmed(text, start, len(text)):
        spans.append(span)
    return spans


def _trimmed(text: str, start: int, end: int) -> Span | None:
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    return (start, end) if end > start else None


def _is_end(text: str, start: int, match: re.Match[str], small: bool) -> bool:
    """Whether a sentence that began at `start` ends with these stops."""
    stops, closers, after = text[match.start() : match.end("stops")], match["closers"], match.end()
    if after == len(text):
        return True
    following = text[after]
    if any(stop in _ALWAYS for stop in stops):
        return following not in _CONTINUES
    if not match["space"]:
        return stops[-1] in "!?" and _EAST_ASIAN.match(following) is not None
    while after < len(text) and text[after] in _OPENERS:
        after += 1
    following = text[after] if after < len(text) else " "
    if stops == "." and not closers:
        begin = match.start()
        if begin > start and text[begin - 1].isspace():
            return True
        if _abbreviated(text, start, begin, after, following):
            return False
    return small or not following.islower()


def _abbreviated(text: str, start: int, stop: int, after: int, following: str) -> bool:
    """Whether the full stop at `stop` belongs to the word before it and ends no sentence."""
    pieces = text[max(start, stop - _LONGEST_ABBREVIATION) : stop].split()
    word = pieces[-1].lstrip(_OPENERS) if pieces else ""
    if len(word) == _LONGEST_ABBREVIATION:  # the window was too narrow for it
        return False
    lower = word.lower()
    if lower in _TITLES or (len(word) == 1 and word.isupper()):
        return True
    if word.isdigit() and stop - len(word) == start:
        return True
    if lower in _BEFORE_NUMBER:
        return following.isdigit()
    if lower in _PERHAPS or _ACRONYM.match(word):
        opening = _FIRST_WORD.match(text, after)
        return opening is None or opening[0].lower() not in _OPENING_WORDS or not opening[0][0].isupper()
    return False
