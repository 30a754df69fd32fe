"""The log-likelihood of given texts under an encoder-decoder: the encoder reads the source, the decoder the text
(Sutskever et al., 2014, §2).

The source is framed as any text of the tokenizer. The decoder reads its start token, the special tokens that begin
every text (BART's <s>; of these none is asked) and the text without its last token. White space between source and text
belongs to neither. Sources that several texts follow are encoded once a pass.

Shapes: T rows of a pass on the encoder's side, m tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

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


@torch.inference_mode()
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
    speaker, head = voice(pretrained)
    model, tokenizer, maximum = speaker.model.eval(), speaker.tokenizer, speaker.maximum
    if model.config.decoder is None:
        raise InputError("this model has no decoder", expected="an encoder-decoder")
    lead = [model.config.decoder.start, *around(tokenizer)[0].tolist()]
    texts = [own.tokens.tolist() for own in tokenizer.encode_many([text.strip() for _, text in pairs], special=special)]
    for (_, text), own in zip(pairs, texts, strict=True):
        if not own or (maximum is not None and len(lead) + len(own) - 1 > maximum):
            raise InputError(f"a text of {len(own)} tokens, {text[:40]!r}", expected=f"1 to {maximum}")
    known = dict.fromkeys(source.rstrip() for source, _ in pairs)
    number = {source: i for i, source in enumerate(known)}
    sources, cuts = [], []
    for encoded in tokenizer.encode_many(list(known), special=special):
        over = 0 if maximum is None else len(encoded) + tokenizer.template.overhead(pair=False) - maximum
        cuts.append(max(0, over))
        sources.append(frame(tokenizer, encoded, max_length=maximum, keep="last").tokens.tolist())
    which = [number[source.rstrip()] for source, _ in pairs]
    found: list[Scored | None] = [None] * len(pairs)
    sizes = np.array([max(len(sources[s]), len(lead) + len(t)) for s, t in zip(which, texts, strict=True)], np.int64)
    for some in batches(sizes, batch_tokens):
        distinct = list(dict.fromkeys(which[i] for i in some))
        side = Side(Packed.of([sources[s] for s in distinct])).to(model.device)
        rows = dict(zip(distinct, np.split(np.arange(len(side.packed.tokens)), _cuts(sources, distinct)), strict=True))
        every = torch.from_numpy(np.concatenate([rows[which[i]] for i in some])).to(model.device)
        encoded = Hidden({"main": model.hidden(side).main.index_select(0, every)})
        inputs = Side(Packed.of([sources[which[i]] for i in some])).to(model.device)
        outputs = Side(Packed.of([[*lead, *texts[i][:-1]] for i in some]), causal()).to(model.device)
        ends = np.cumsum([len(lead) + len(texts[i]) - 1 for i in some])
        asked = np.concatenate(
            [np.arange(end - len(texts[i]), end) for end, i in zip(ends.tolist(), some, strict=True)]
        )
        values = np.array([token for i in some for token in texts[i]], np.int64)
        logprobs, likeliest = look_up(model, head, model.decoded(outputs, encoded, inputs), asked, values)
        borders = np.cumsum([len(texts[i]) for i in some])[:-1]
        for i, p, best in zip(some, np.split(logprobs, borders), np.split(likeliest, borders), strict=True):
            found[i] = Scored.of(Answer(p, best), cuts[which[i]])
        if progress is not None:
            progress(len(some))
    return [own for own in found if own is not None]


def _cuts(sources: Sequence[Sequence[int]], distinct: Sequence[int]) -> np.ndarray:
    return np.cumsum([len(sources[s]) for s in distinct])[:-1]
