"""How a model writes: what its configuration says of the reader that goes with it, of how a prompt is framed for it,
and of the tokens that end a text.

Shapes: L tokens of one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from didact.errors import InputError
from didact.generation.copying import Copying, copies
from didact.generation.reader import Blank, NextToken, Prompts, Reader, Writing
from didact.model import Model, Pretrained
from didact.objectives.unilm import SEGMENTS, segments_of
from didact.tokenization.tokenizer import Tokenizer, frame


class PromptError(InputError):
    """What is wrong with one of several prompts. number: which, from 1."""

    def __init__(self, number: int, found: str, expected: str) -> None:
        super().__init__(f"prompt {number}: {found}", expected=expected)
        self.number, self.wrong = number, found

    def at(self, file: str, row: int) -> InputError:
        """Said of the place that the prompt comes from."""
        return InputError(self.wrong, file=file, row=row, expected=self.expected)


@dataclass(frozen=True)
class Way:
    """reader: see there; continues: whether what is written goes on with the prompt's text; ends: tokens that end a
    text; never: tokens that are not written; banned: nor phrases of tokens; first, last: tokens that every text begins
    with and that one of full length ends with; apart: whether prompt and text have positions of their own.
    """

    reader: Reader
    continues: bool
    ends: tuple[int, ...]
    never: tuple[int, ...] = ()
    banned: tuple[tuple[int, ...], ...] = ()
    first: int | None = None
    last: int | None = None
    apart: bool = False

    def prompts(self, pretrained: Pretrained, texts: Sequence[str], special: bool = False) -> Prompts:
        """The tokens that are read of each text; special: names of special tokens in it stand for them. PromptError
        for an empty one where nothing can stand for it.
        """
        framed = continued if self.continues else whole
        return framed(pretrained.tokenizer, texts, special)

    def check_room(self, room: int | None, prompts: Prompts, new: int) -> None:
        """room: of the model. PromptError for a prompt of no token, and one too long where `new` ones are to come."""
        for number, tokens in enumerate(prompts, 1):
            if not len(tokens):
                raise PromptError(number, "no token", "at least one")
            found = f"{len(tokens)} tokens, and {new} new ones"
            if room is not None and self.apart and max(len(tokens), new) > room:
                raise PromptError(number, found, f"at most {room} of each")
            if room is not None and not self.apart and len(tokens) + new > room:
                raise PromptError(number, found, f"at most {room} together")


def way_of(pretrained: Pretrained, begin: str | None = None, first: str | None = None) -> Way:
    """How this model writes. begin, first: the pieces that a decoder begins to read with and to write with, where they
    are not the model's own (a language's). Raises InputError for a model that does not write, or has no decoder to
    begin with them, and for a piece that there is not.
    """
    config, tokenizer = pretrained.model.config, pretrained.tokenizer
    ends = _ends(pretrained)
    if config.decoder is not None:
        said = pretrained.carried
        return Way(
            _writing(pretrained.model, config.decoder.start if begin is None else _piece(tokenizer, begin)),
            False,
            ends,
            banned=tuple(tuple(phrase) for phrase in said.get("bad_words_ids") or () if max(phrase) < config.pieces),
            first=said.get("forced_bos_token_id") if first is None else _piece(tokenizer, first),
            last=said.get("forced_eos_token_id"),
            apart=True,
        )
    if begin is not None or first is not None:
        raise InputError("a token for a decoder to begin with", expected="a model with a decoder")
    if config.visibility == "causal":
        return Way(NextToken(pretrained.model, pretrained.prefixed), True, ends)
    if config.segments >= SEGMENTS and tokenizer.mask is not None:
        prompt, written = segments_of("seq2seq")
        return Way(Blank(pretrained.model, tokenizer.mask, prompt, written), False, ends, (tokenizer.mask,))
    raise InputError(
        "this model sees the whole text and was not trained to write one from left to right",
        expected="one that looks back (GPT-2), has a decoder (BART) or writes after a text that it sees whole (UniLM)",
    )


def _piece(tokenizer: Tokenizer, piece: str) -> int:
    found = tokenizer.id_of(piece)
    if found is None:
        raise InputError(f"no token {piece!r}", expected="a piece of the tokenizer, as it is spelled there")
    return found


def _writing(model: Model, begin: int) -> Writing:
    """What reads an encoder-decoder: one that copies says of copying, too."""
    layer = copies(model)
    return Writing(model, begin) if layer is None else Copying(model, begin, layer)


def _ends(pretrained: Pretrained) -> tuple[int, ...]:
    """What config.json calls the end, else what ends a document in pre-training: a separator, else the end of text."""
    said = pretrained.carried.get("eos_token_id")
    if said is not None:
        return (said,) if isinstance(said, int) else tuple(said)
    tokenizer = pretrained.tokenizer
    end = tokenizer.sep if tokenizer.sep is not None else tokenizer.eos
    return () if end is None else (end,)


def continued(tokenizer: Tokenizer, texts: Sequence[str], special: bool = False) -> Prompts:
    """What stands before a text, and its tokens; what stands after it does not, as it goes on. An empty prompt is the
    begin of a text, or the end of one before.
    """
    before = []
    for content, _ in tokenizer.template.single:
        if isinstance(content, str):
            break
        before.append(content)
    begin = tokenizer.bos if tokenizer.bos is not None else tokenizer.eos
    found = []
    for number, encoded in enumerate(tokenizer.encode_many(texts, special=special), 1):
        tokens = [*before, *encoded.tokens.tolist()]
        if not tokens and begin is None:
            raise PromptError(number, "no text", "one, as the tokenizer has no token that begins a text")
        found.append(tokens or [begin])
    return found


def whole(tokenizer: Tokenizer, texts: Sequence[str], special: bool = False) -> Prompts:
    """The texts with all that stands around one."""
    return [frame(tokenizer, encoded).tokens.tolist() for encoded in tokenizer.encode_many(texts, special=special)]
