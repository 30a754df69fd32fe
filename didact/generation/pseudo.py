"""How likely a masked language model thinks a text: the pseudo-log-likelihood (Salazar et al., 2020, §2), each token
hidden in turn, with the correction for words of several tokens (Kauf & Ivanova, 2023, §4).

Shapes: n texts, L tokens of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from didact.batch import Example, Labels
from didact.data.flat import lay
from didact.errors import InputError
from didact.generation.likelihood import Likelihood
from didact.generation.reader import vocabulary_head
from didact.model import Pretrained
from didact.tasks.answering import batches
from didact.tokenization.tokenizer import frame


@torch.inference_mode()
def pseudo_likelihoods(
    pretrained: Pretrained, texts: Sequence[str], within_word: bool = True, batch_tokens: int = 8192
) -> list[Likelihood]:
    """Of each text, its tokens without the special ones. One forward pass of a text for each of its tokens.

    within_word: with a token the later ones of its word are hidden, too: what is left of a word says what it is, so
    that otherwise long words come out too likely. Raises InputError for a model without a vocabulary head or mask
    token, one that looks back, and a text that is too long.
    """
    model, tokenizer = pretrained.model.eval(), pretrained.tokenizer
    name = vocabulary_head(model)
    if name is None or tokenizer.mask is None or model.config.visibility == "causal":
        raise InputError("this model fills no blanks", expected="one pre-trained to, with its tokenizer's mask token")
    copies: list[Example] = []
    rows: list[int] = []
    examples = [frame(tokenizer, encoded) for encoded in tokenizer.encode_many(texts)]
    for number, example in enumerate(examples, 1):
        if pretrained.maximum is not None and len(example) > pretrained.maximum:
            raise InputError(f"text {number} of {len(example)} tokens", expected=f"at most {pretrained.maximum}")
        for row in np.flatnonzero(~example.special).tolist():
            copies.append(
                Example(_hidden(example, row, tokenizer.mask, within_word), example.special, example.segments)
            )
            rows.append(row)
    sequences = lay(copies)
    each, greedy = np.zeros(len(copies)), np.zeros(len(copies), bool)
    wanted = np.array([t for e in examples for t in e.tokens[~e.special]], np.int64)
    for some in batches(sequences.lengths, batch_tokens) if copies else ():
        side = sequences.batch(some).inputs.to(model.device)
        asked = side.packed.cu_seqlens[:-1].long() + torch.tensor([rows[i] for i in some], device=model.device)
        logits = model.answer(model.hidden(side), Labels(name, asked, asked)).float()
        right = torch.from_numpy(wanted[some]).to(model.device)
        own = logits.gather(1, right[:, None]).squeeze(1) - logits.logsumexp(1)
        each[some], greedy[some] = own.cpu().numpy(), (logits.argmax(1) == right).cpu().numpy()
    cuts = np.cumsum([int((~example.special).sum()) for example in examples])[:-1]
    return [
        Likelihood(tuple(t.tolist()), tuple(e.tolist()), bool(g.all()))
        for t, e, g in zip(*(np.split(x, cuts) for x in (wanted, each, greedy)), strict=True)
    ]


def _hidden(example: Example, row: int, mask: int, within_word: bool) -> np.ndarray:
    """The tokens, this one masked and, where wanted, those of its word that come after it."""
    tokens = example.tokens.copy()
    tokens[row] = mask
    if within_word:
        assert example.words is not None
        same = example.words == example.words[row]
        same[: row + 1] = False
        tokens[same] = mask
    return tokens
