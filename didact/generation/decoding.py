"""How text is written: every setting of decoding, in one frozen place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal

from didact.bounds import check_plain
from didact.errors import InputError

_MAY_BE_NONE = ("top_k", "top_p", "min_p", "no_repeat", "phrases", "banned", "stop")
STEEPEST = 20  # power of a text's length, which with more tokens would not fit into a number
COLDEST = 1e-20  # logits divided by less would not fit into a number
_ANOTHER = object()
"""instead of a value of another kind"""


@dataclass(frozen=True)
class Decoding:
    """maximum, minimum: new tokens, the one that ends a text not counted in the minimum.

    beams: hypotheses kept at each step, 1 = the likeliest token is taken (Graves, 2012; Sutskever et al., 2014, §3.2);
    answers: how many of the best are given (of sampling: how many are drawn); length_penalty: a finished hypothesis is
    ranked by its log-likelihood divided by its new tokens to the power of this; early_stopping: when a prompt is done:
    True: as soon as there are `beams` finished ones; False: when the best running one, were it to end now, is below the
    worst of them; "never": when it cannot get above it at any length.
    coverage_penalty: of models that copy, the λ of log P(Y|X) - λ · Σ_t Σ_i min(a_ti, Σ_s<t a_si), which then stands
    for the log-likelihood: token t was written looking at the source's row i with probability a_ti, so that looking
    again where one has looked costs (See, Liu & Manning, 2017, eq. 10 to 13: what training with `coverage` minimises).
    groups: the beams fall into so many groups, which avoid one another's tokens of the same step; diversity: what each
    use of a token by an earlier group takes off its log-probability (Vijayakumar et al., 2018, §3).

    sample: draw each token; temperature: logits are divided by it; top_k: only the k likeliest, 0 = all; top_p: only
    the likeliest whose probabilities add up to p (Holtzman et al., 2020, §3.1); min_p: only those at least this share
    as likely as the likeliest (Nguyen et al., 2024); seed: a draw depends on it, on the prompt's and the answer's
    number and on the step alone.

    repetition_penalty: scores of tokens that have occurred, in the prompt too, are divided by it where positive and
    multiplied where negative (Keskar et al., 2019, §4.1), 1 = none; no_repeat: n-grams of this length occur once
    (Paulus et al., 2018, §2.5), 0 = all may; phrases: texts that must appear, each in the pieces that it has after a
    space, or in a script without spaces after none (beam search alone; Post & Vilar, 2018); banned: texts that must
    not, in whatever pieces, inside words too ("cat" bans "concatenate"); stop: texts that end a text, which is
    cut before them. begin, first: of a model with a decoder, the pieces that it begins to read and to write with, as
    the tokenizer spells them, where they are not the model's own: the language of the text (mBART's "de_DE").

    None of top_k, top_p, min_p, no_repeat, phrases, banned and stop is none of them. Raises InputError for values of
    another kind or out of bounds, for settings that do not go together, and for those that would have no effect: of
    drawing where nothing is drawn, of several beams or groups where there is one.
    """

    maximum: int = 64
    minimum: int = 0
    beams: int = 1
    answers: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    coverage_penalty: float = 0.0
    groups: int = 1
    diversity: float = 0.5
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    repetition_penalty: float = 1.0
    no_repeat: int = 0
    phrases: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    begin: str | None = None
    first: str | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            given = getattr(self, one.name)
            said = one.default if given is None and one.name in _MAY_BE_NONE else _like(given, one.default)
            if said is _ANOTHER:
                raise InputError(f"{one.name} {given!r}", expected=f"one like {one.default!r}")
            object.__setattr__(self, one.name, said)
        for name in ("phrases", "banned", "stop"):
            if not all(getattr(self, name)):
                raise InputError(f"{name} with an empty text", expected="texts of at least one character")
            if any(map(lone, getattr(self, name))):
                raise InputError(f"{name} with half a character", expected="texts, whose surrogates come in pairs")
        for name, least in (("maximum", 1), ("minimum", 0), ("beams", 1), ("answers", 1), ("groups", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}", expected=f"at least {least}")
        if not isinstance(self.sample, bool):
            raise InputError(f"sample {self.sample!r}", expected="true or false")
        if self.minimum > self.maximum:
            raise InputError(f"minimum {self.minimum}", expected=f"at most the maximum, {self.maximum}")
        for name in ("coverage_penalty", "diversity"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} {getattr(self, name)}", expected="at least 0")
        if abs(self.length_penalty) > STEEPEST:
            raise InputError(f"length_penalty {self.length_penalty:g}", expected=f"from -{STEEPEST} to {STEEPEST}")
        if self.temperature <= 0 or self.repetition_penalty <= 0:
            raise InputError("a temperature or repetition penalty of 0 or less", expected="a number above 0")
        if self.temperature < COLDEST:
            raise InputError(f"temperature {self.temperature:g}", expected=f"{COLDEST:g} or more, or sample: false")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1 or self.no_repeat < 0:
            raise InputError(
                f"top_k {self.top_k}, top_p {self.top_p}, min_p {self.min_p}, no_repeat {self.no_repeat}",
                expected="top_k and no_repeat from 0, top_p in (0, 1], min_p in [0, 1]",
            )
        self._check_together()

    def _check_together(self) -> None:
        if not self.sample:
            check_plain(self, ("temperature", "top_k", "top_p", "min_p", "seed"), "nothing is drawn", "sample: true")
        if self.beams > 1 and self.sample:
            raise InputError("beams that are sampled", expected="beams 1, or sample false")
        if self.beams % self.groups:
            raise InputError(f"{self.beams} beams in {self.groups} groups", expected="groups that divide the beams")
        if not self.sample and self.answers > self.beams:
            raise InputError(f"{self.answers} answers of {self.beams} beams", expected="no more answers than beams")
        if self.phrases and (self.sample or self.groups > 1 or self.stop):
            raise InputError("phrases that must appear", expected="beam search without groups and stop texts")
        if not self.searches:
            check_plain(
                self, ("length_penalty", "early_stopping", "coverage_penalty"), "there is one beam", "several beams"
            )
        if self.groups == 1:
            check_plain(self, ("diversity",), "there is one group", "several groups")

    @property
    def searches(self) -> bool:
        """Whether several hypotheses are compared."""
        return self.beams > 1 or bool(self.phrases)


def lone(text: str) -> bool:
    """Whether half a character stands in it (a surrogate without the other one), which no tokenizer reads."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _like(said: Any, wanted: Any) -> Any:
    """A value as a setting of this kind has it: "never" may be said where yes or no stands, one text where several may,
    nothing where there is none, and a whole number for one with a fraction. `_ANOTHER` where it is of another kind.
    """
    if isinstance(wanted, tuple):
        texts = (said,) if isinstance(said, str) else said
        if isinstance(texts, Iterable) and not isinstance(texts, Mapping):
            texts = tuple(texts)
            return texts if all(isinstance(text, str) for text in texts) else _ANOTHER
        return _ANOTHER
    if isinstance(wanted, bool):
        return said if isinstance(said, bool) or said == "never" else _ANOTHER
    if isinstance(wanted, int):
        return int(said) if isinstance(said, Integral) and not isinstance(said, bool) else _ANOTHER
    if isinstance(wanted, float):
        number = isinstance(said, Real) and not isinstance(said, bool) and math.isfinite(said)
        return float(said) if number else _ANOTHER
    return said if said is None or isinstance(said, str) else _ANOTHER
