"""Texts in, texts out: what a model writes after each prompt, at once or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from didact.errors import InputError
from didact.generation.beams import search
from didact.generation.constrained import room
from didact.generation.decoding import Decoding, lone
from didact.generation.reader import Prompts
from didact.generation.rules import AtLeast, Banned, Forbidden, Forced, NoRepeat, Repetition, Rule, Unwritten
from didact.generation.texts import Following, Pieces, Stopping
from didact.generation.walk import Hypothesis, NothingLeft, Walk
from didact.generation.ways import PromptError, Way, way_of
from didact.model import Answer, Pretrained
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.whole_words import UNSPACED, classes, codes


def generate(
    pretrained: Pretrained,
    prompts: Sequence[str],
    decoding: Decoding | None = None,
    batch: int = 32,
    special: bool = False,
    number: int = 0,
    **settings: Any,
) -> list[list[Answer]]:
    """The answers to each prompt, best first (drawn ones in the order of their numbers).

    decoding: how; settings: fields of `Decoding` that are to be otherwise. batch: prompts that are worked on together,
    those of similar length; what is found does not depend on it, but for rounding. special: names of special tokens in
    the prompts stand for these tokens ("The <extra_id_0> sat", "The <mask> sat"), and sentinels stay in the answers;
    not for prompts with other people's text in them, which could end them or say what they are. number: of the first
    prompt, which what is drawn depends on: where 256 have been answered before, 256.

    Raises InputError for settings that do not go together, prompts that do not fit, phrases that cannot appear, and
    models that do not write.
    """
    decoding = settled(decoding, settings)
    way = way_of(pretrained, decoding.begin, decoding.first)
    tokens = way.prompts(pretrained, _texts(prompts), special)
    return _answers(pretrained, tokens, way, decoding, batch, special, number)


def generate_tokens(
    pretrained: Pretrained,
    prompts: Prompts,
    decoding: Decoding | None = None,
    batch: int = 32,
    special: bool = False,
    number: int = 0,
    **settings: Any,
) -> list[list[Answer]]:
    """`generate` after prompts that are tokens already, read as they are: whatever begins a text is among them.

    Raises InputError as `generate`, and for what is no token of the model's.
    """
    decoding = settled(decoding, settings)
    way = way_of(pretrained, decoding.begin, decoding.first)
    tokens = _tokens(prompts, pretrained.model.config.pieces)
    return _answers(pretrained, tokens, way, decoding, batch, special, number)


def check_prompts(pretrained: Pretrained, prompts: Sequence[str], decoding: Decoding, special: bool = False) -> None:
    """That prompts leave the model room to write, which is known before anything is. special: as of `generate`. Raises
    InputError as `generate`, for a prompt PromptError.
    """
    way = way_of(pretrained, decoding.begin, decoding.first)
    way.check_room(pretrained.maximum, way.prompts(pretrained, _texts(prompts), special), decoding.maximum)


def _texts(prompts: Sequence[str]) -> list[str]:
    if isinstance(prompts, str):
        raise InputError("one text as prompts", expected="a list of texts")
    for number, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str):
            raise PromptError(number, type(prompt).__name__, "a text")
        if lone(prompt):
            raise PromptError(number, f"half a character in {prompt[:40]!r}", "a text, whose surrogates come in pairs")
    return list(prompts)


def _tokens(prompts: Prompts, pieces: int) -> list[list[int]]:
    """pieces: that the model has."""
    found = []
    for number, prompt in enumerate(prompts, 1):
        tokens = np.asarray(prompt)
        if tokens.ndim != 1 or (len(tokens) and tokens.dtype.kind not in "iu"):
            raise PromptError(number, str(prompt)[:40], "a list of tokens, whole numbers")
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < pieces:
            wrong = next(token for token in tokens.tolist() if not 0 <= token < pieces)
            raise PromptError(number, f"token {wrong}", f"one of 0 to {pieces - 1}")
        found.append([int(token) for token in tokens])
    return found


def _answers(
    pretrained: Pretrained, tokens: Prompts, way: Way, decoding: Decoding, batch: int, special: bool, number: int
) -> list[list[Answer]]:
    if not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch {batch!r}", expected="at least 1")
    way.check_room(pretrained.maximum, tokens, decoding.maximum)
    says = _says(pretrained, special)
    rules, phrases = rules_of(decoding, way, says), _phrases(decoding, pretrained.tokenizer)
    followings = [Following(says, tuple(own) if way.continues else ()) for own in tokens]
    stopping = [Stopping(following, decoding.stop) for following in followings] if decoding.stop else []
    answers: list[list[Answer]] = [[] for _ in tokens]
    order = np.argsort([-len(prompt) for prompt in tokens], kind="stable").tolist()
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            own, stops = [tokens[i] for i in some], [stopping[i] for i in some] if stopping else []
            if decoding.searches:
                found = search(way.reader, own, decoding, way.ends, rules, stops, [phrases] * len(own))
            else:
                walk = Walk(way.reader, own, decoding, way.ends, rules, stops, [number + i for i in some])
                try:
                    for _ in walk.steps():
                        pass
                except NothingLeft as problem:
                    raise _nothing(some[problem.place]) from None
                found = walk.hypotheses
            for i, hypotheses in zip(some, found, strict=True):
                if not hypotheses:
                    raise _nothing(i)
                answers[i] = [_answer(one, followings[i], stopping[i] if stopping else None, way) for one in hypotheses]
    return answers


def _nothing(place: int) -> PromptError:
    return PromptError(place + 1, "nothing can be written by these rules", "fewer rules")


def _says(pretrained: Pretrained, special: bool) -> Tokenizer:
    """What makes text of the tokens that are written."""
    return pretrained.tokenizer.showing if special else pretrained.tokenizer


def stream(
    pretrained: Pretrained,
    prompt: str,
    decoding: Decoding | None = None,
    special: bool = False,
    number: int = 0,
    **settings: Any,
) -> Iterator[str]:
    """What is written after one prompt, piece by piece as it is; no piece ends within a character. special, number: see
    `generate`.

    Raises InputError as `generate`, and for beams, whose first words are known only at the end.
    """
    decoding = settled(decoding, settings)
    if decoding.searches or decoding.answers > 1:
        raise InputError("beams or several answers, piece by piece", expected="one answer, greedy or drawn")
    way = way_of(pretrained, decoding.begin, decoding.first)
    (tokens,) = way.prompts(pretrained, _texts([prompt]), special)
    way.check_room(pretrained.maximum, [tokens], decoding.maximum)
    says = _says(pretrained, special)
    following = Following(says, tuple(tokens) if way.continues else ())
    stopping = Stopping(following, decoding.stop) if decoding.stop else None
    rules, stops = rules_of(decoding, way, says), [] if stopping is None else [stopping]
    walk = Walk(way.reader, [tokens], decoding, way.ends, rules, stops, [number])
    return _pieces(walk, Pieces(following, stopping), way)


def _pieces(walk: Walk, pieces: Pieces, way: Way) -> Iterator[str]:
    steps = walk.steps()
    while True:
        try:
            with torch.inference_mode():  # not around the yield: it would be the caller's as well
                taken = next(steps, None)
        except NothingLeft:
            raise _nothing(0) from None
        if taken is None:
            break
        token = int(taken.tokens[0, 0])
        if token not in way.ends and (piece := pieces.add(token)):
            yield piece
    if piece := pieces.end():
        yield piece


def settled(decoding: Decoding | None, settings: dict[str, Any]) -> Decoding:
    """The decoding with these fields otherwise. InputError for a field that there is not, and as `Decoding`."""
    if not isinstance(decoding, Decoding | None):
        raise InputError(f"decoding {decoding!r}", expected="a Decoding, or its fields by name")
    known = Decoding.__dataclass_fields__
    if unknown := [name for name in settings if name not in known]:
        raise InputError(f"decoding with {', '.join(unknown)}", expected=f"some of {', '.join(known)}")
    return replace(decoding or Decoding(), **settings)


def rules_of(decoding: Decoding, way: Way, tokenizer: Tokenizer) -> list[Rule]:
    """The rules that the settings ask for, in the order in which they are applied."""
    rules: list[Rule] = []
    if decoding.repetition_penalty != 1.0:
        rules.append(Repetition(decoding.repetition_penalty))
    if decoding.no_repeat:
        rules.append(NoRepeat(decoding.no_repeat))
    if decoding.banned:
        spelled = {form for text in decoding.banned for form in _spelled(tokenizer, text)}
        rules.append(Banned(tuple(sorted(spelled))))
        # Also as an uncased tokenizer writes them.
        texts = dict.fromkeys(form for text in decoding.banned for form in (text, tokenizer.as_read(text)) if form)
        rules.append(Unwritten(tokenizer.surfaces, tuple(text.encode(errors="surrogatepass") for text in texts)))
    if way.banned:
        rules.append(Banned(way.banned))
    if decoding.minimum and way.ends:
        rules.append(AtLeast(decoding.minimum, way.ends))
    if way.never:
        rules.append(Forbidden(way.never))
    if way.first is not None:
        rules.append(Forced(0, way.first))
    if way.last is not None:
        rules.append(Forced(decoding.maximum - 1, way.last))
    return rules


def _spelled(tokenizer: Tokenizer, text: str) -> set[tuple[int, ...]]:
    """The tokens of a text where it begins one, and where it stands after a space; none where it cannot be written:
    its unknown token stands for other texts as well, and what is never written need not be forbidden.
    """
    found = {tuple(encoded.tokens.tolist()) for encoded in tokenizer.encode_many([text, f" {text}"]) if len(encoded)}
    return {form for form in found if tokenizer.unk is None or tokenizer.unk not in form}


def _phrases(decoding: Decoding, tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of the phrases that must appear, each as it stands after a space (its own, where it begins with one);
    in a script written without spaces, without one.
    """
    unspaced = [bool(classes(codes(text[0]))[0] == UNSPACED) for text in decoding.phrases]
    given = [
        text if own or text[0].isspace() else f" {text}" for text, own in zip(decoding.phrases, unspaced, strict=True)
    ]
    found = [encoded.tokens.tolist() for encoded in tokenizer.encode_many(given)]
    for own, tokens in zip(unspaced, found, strict=True):
        if own and tokens and tokenizer.surfaces[tokens[0]] == b" ":  # what Unigram begins every text with
            del tokens[0]
    for text, tokens in zip(decoding.phrases, found, strict=True):
        if not tokens or (tokenizer.unk is not None and tokenizer.unk in tokens):
            raise InputError(f"phrase {text!r} has no tokens of its own", expected="one that the tokenizer can write")
    if found and (size := room(found)) > decoding.maximum:
        raise InputError(f"phrases of {size} tokens", expected=f"at most {decoding.maximum}, the maximum")
    return found


def _answer(found: Hypothesis, following: Following, stopping: Stopping | None, way: Way) -> Answer:
    tokens = found.tokens[:-1] if found.tokens and found.tokens[-1] in way.ends else found.tokens
    text = following(tokens)
    return Answer(text if stopping is None else stopping.cut(text), found.tokens, found.score)
