"""The log-likelihood of given texts under an encoder-decoder: the encoder reads the source, the decoder the text
(Sutskever et al., 2014, §2).

The source is framed as any text of the tokenizer. The decoder reads its start token, the special tokens that begin
every text (BART's <s>; of these none is asked) and the text without its last token. White space between source and text
belongs to neither. Sources that several texts follow are encoded once a pass.

Shapes: T rows of a pass on the encoder's side, m tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from didact.batch import Side
from didact.errors import InputError
from didact.generation.asking import Answer, Progress, look_up, voice
from didact.generation.borders import around
from didact.generation.score import Scored
from didact.model import Pretrained
from didact.nn.core import Hidden
from didact.packed import Packed
from didact.tasks.answering import batches
from didact.tokenization.tokenizer import frame
from didact.visibility import causal

Integers = NDArray[np.int64]


def score_after(
    pretrained: Pretrained,
    pairs: Sequence[tuple[str, str]],
    *,
    special: bool = False,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> list[Scored]:
    """One Scored a (source, text), in order. A source too long for the model loses its beginning. special: names of
    special tokens in the texts stand for them.

    Raises InputError for a model without a decoder, a text without a token, and one longer than the model takes.
    """
    speaker, _ = voice(pretrained)
    model, tokenizer, maximum = speaker.model, speaker.tokenizer, speaker.maximum
    if model.config.decoder is None:
        raise InputError("this model has no decoder", expected="an encoder-decoder")
    lead = [model.config.decoder.start, *around(tokenizer)[0].tolist()]
    texts = [own.tokens.tolist() for own in tokenizer.encode_many([text.strip() for _, text in pairs], special=special)]
    for (_, text), own in zip(pairs, texts, strict=True):
        if not own or (maximum is not None and len(lead) + len(own) - 1 > maximum):
            raise InputError(f"a text of {len(own)} tokens, {text[:40]!r}", expected=f"1 to {maximum}")
    known = list(dict.fromkeys(source.rstrip() for source, _ in pairs))
    sources = {}
    for source, encoded in zip(known, tokenizer.encode_many(known, special=special), strict=True):
        over = 0 if maximum is None else len(encoded) + tokenizer.template.overhead(pair=False) - maximum
        framed = frame(tokenizer, encoded, max_length=maximum, keep="last").tokens
        sources[source] = tuple(framed.tolist()), max(0, over)
    tasks = []
    for (source, _), text in zip(pairs, texts, strict=True):
        read, cut = sources[source.rstrip()]
        rows = np.arange(len(lead) - 1, len(lead) + len(text) - 1)
        tasks.append(Written(read, (*lead, *text[:-1]), rows, np.array(text, np.int64), cut))
    return score_written(pretrained, tasks, batch_tokens, progress)


@dataclass(frozen=True)
class Written:
    """source: tokens that the encoder reads; read: tokens that the decoder reads; rows (m,) int64: which of these are
    asked; values (m,) int64: the tokens whose probability is wanted there; cut: tokens that did not fit.
    """

    source: tuple[int, ...]
    read: tuple[int, ...]
    rows: Integers
    values: Integers
    cut: int = 0


@torch.inference_mode()
def score_written(
    pretrained: Pretrained, tasks: Sequence[Written], batch_tokens: int = 8192, progress: Progress | None = None
) -> list[Scored]:
    """`score_after` of what is in tokens already."""
    speaker, head = voice(pretrained)
    model = speaker.model.eval()
    found: list[Scored | None] = [None] * len(tasks)
    sizes = np.array([max(len(own.source), len(own.read)) for own in tasks], np.int64)
    for some in batches(sizes, batch_tokens):
        own = [tasks[i] for i in some]
        distinct = list(dict.fromkeys(each.source for each in own))
        side = Side(Packed.of([list(source) for source in distinct])).to(model.device)
        rows = dict(zip(distinct, np.split(np.arange(len(side.packed.tokens)), _cuts(distinct)), strict=True))
        every = torch.from_numpy(np.concatenate([rows[each.source] for each in own])).to(model.device)
        encoded = Hidden({"main": model.hidden(side).main.index_select(0, every)})
        inputs = Side(Packed.of([list(each.source) for each in own])).to(model.device)
        outputs = Side(Packed.of([list(each.read) for each in own]), causal()).to(model.device)
        begins = np.cumsum([0, *(len(each.read) for each in own[:-1])])
        asked = np.concatenate([each.rows + begin for each, begin in zip(own, begins.tolist(), strict=True)])
        values = np.concatenate([each.values for each in own])
        logprobs, likeliest = look_up(model, head, model.decoded(outputs, encoded, inputs), asked, values)
        borders = np.cumsum([len(each.rows) for each in own])[:-1]
        for i, p, best in zip(some, np.split(logprobs, borders), np.split(likeliest, borders), strict=True):
            found[i] = Scored.of(Answer(p, best), tasks[i].cut)
        if progress is not None:
            progress(len(some))
    return [own for own in found if own is not None]


def _cuts(sources: Sequence[Sequence[int]]) -> Integers:
    return np.cumsum([len(source) for source in sources])[:-1]
