"""How a model writes: what its configuration says of the reader that goes with it, of how a prompt is framed for it,
and of the tokens that end a text.

Shapes: L tokens of one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from didact.errors import InputError
from didact.generation.reader import Blank, NextToken, Prompts, Reader
from didact.model import Pretrained
from didact.objectives.unilm import SEGMENTS, segments_of
from didact.tokenization.tokenizer import Tokenizer, frame


@dataclass(frozen=True)
class Way:
    """reader: see there; continues: whether what is written goes on with the prompt's text; ends: tokens that end a
    text; never: tokens that are not written.
    """

    reader: Reader
    continues: bool
    ends: tuple[int, ...]
    never: tuple[int, ...] = ()

    def prompts(self, pretrained: Pretrained, texts: Sequence[str], new: int) -> Prompts:
        """The tokens that are read of each text, `new` ones being to come. InputError for one that is too long, and for
        an empty one where nothing can stand for it.
        """
        framed = continued if self.continues else whole
        found = framed(pretrained.tokenizer, texts)
        room = pretrained.maximum
        for number, tokens in enumerate(found, 1):
            if room is not None and len(tokens) + new > room:
                raise InputError(
                    f"prompt {number} of {len(tokens)} tokens, and {new} new ones", expected=f"at most {room} together"
                )
        return found


def way_of(pretrained: Pretrained) -> Way:
    """How this model writes. Raises InputError for one that does not."""
    config, tokenizer = pretrained.model.config, pretrained.tokenizer
    ends = _ends(pretrained)
    if config.visibility == "causal":
        return Way(NextToken(pretrained.model), True, ends)
    if config.segments >= SEGMENTS and tokenizer.mask is not None:
        prompt, written = segments_of("seq2seq")
        return Way(Blank(pretrained.model, tokenizer.mask, prompt, written), False, ends, (tokenizer.mask,))
    raise InputError(
        "this model sees the whole text and was not trained to write one from left to right",
        expected="one that looks back (GPT-2) or writes after a text that it sees whole (UniLM)",
    )


def _ends(pretrained: Pretrained) -> tuple[int, ...]:
    """What config.json calls the end, else what ends a document in pre-training: a separator, else the end of text."""
    said = pretrained.carried.get("eos_token_id")
    if said is not None:
        return (said,) if isinstance(said, int) else tuple(said)
    tokenizer = pretrained.tokenizer
    end = tokenizer.sep if tokenizer.sep is not None else tokenizer.eos
    return () if end is None else (end,)


def continued(tokenizer: Tokenizer, texts: Sequence[str]) -> Prompts:
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
    for number, encoded in enumerate(tokenizer.encode_many(texts), 1):
        tokens = [*before, *encoded.tokens.tolist()]
        if not tokens and begin is None:
            raise InputError(
                f"prompt {number} is empty", expected="a text, as the tokenizer has no token that begins one"
            )
        found.append(tokens or [begin])
    return found


def whole(tokenizer: Tokenizer, texts: Sequence[str]) -> Prompts:
    """The texts with all that stands around one."""
    return [frame(tokenizer, encoded).tokens.tolist() for encoded in tokenizer.encode_many(texts)]
