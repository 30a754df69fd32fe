"""How text is written: every setting of decoding, in one frozen place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from didact.errors import InputError


@dataclass(frozen=True)
class Decoding:
    """maximum, minimum: new tokens, the one that ends a text not counted in the minimum.

    beams: hypotheses kept at each step, 1 = the likeliest token is taken (Graves, 2012; Sutskever et al., 2014, §3.2);
    answers: how many of the best are given (of sampling: how many are drawn); length_penalty: a finished hypothesis is
    ranked by its log-likelihood divided by its new tokens to the power of this; early_stopping: when a prompt is done:
    True: as soon as there are `beams` finished ones; False: when the best running one, were it to end now, is below the
    worst of them; "never": when it cannot get above it at any length.
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
    """

    maximum: int = 64
    minimum: int = 0
    beams: int = 1
    answers: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
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
        for name in ("phrases", "banned", "stop"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
            if not all(getattr(self, name)):
                raise InputError(f"{name} with an empty text", expected="texts of at least one character")
        for name, least in (("maximum", 1), ("minimum", 0), ("beams", 1), ("answers", 1), ("groups", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}", expected=f"at least {least}")
        if self.minimum > self.maximum:
            raise InputError(f"minimum {self.minimum}", expected=f"at most the maximum, {self.maximum}")
        if self.temperature <= 0 or self.repetition_penalty <= 0:
            raise InputError("a temperature or repetition penalty of 0 or less", expected="a number above 0")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1 or self.no_repeat < 0:
            raise InputError(
                f"top_k {self.top_k}, top_p {self.top_p}, min_p {self.min_p}, no_repeat {self.no_repeat}",
                expected="top_k and no_repeat from 0, top_p in (0, 1], min_p in [0, 1]",
            )
        if self.early_stopping not in (True, False, "never"):
            raise InputError(f"early_stopping {self.early_stopping!r}", expected="true, false or never")
        self._check_together()

    def _check_together(self) -> None:
        if self.beams > 1 and self.sample:
            raise InputError("beams that are sampled", expected="beams 1, or sample false")
        if self.beams % self.groups:
            raise InputError(f"{self.beams} beams in {self.groups} groups", expected="groups that divide the beams")
        if not self.sample and self.answers > self.beams:
            raise InputError(f"{self.answers} answers of {self.beams} beams", expected="no more answers than beams")
        if self.phrases and (self.sample or self.groups > 1 or self.stop):
            raise InputError("phrases that must appear", expected="beam search without groups and stop texts")

    @property
    def searches(self) -> bool:
        """Whether several hypotheses are compared."""
        return self.beams > 1 or bool(self.phrases)
