"""Mask-predict (Ghazvininejad et al., 2019, §3.2): a masked language model writes all blanks at once, then hides what
it is least sure of and writes that again, fewer each time.

Shapes: n texts, m blanks of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from didact.batch import Labels
from didact.data.flat import Flat
from didact.data.lay import lay
from didact.errors import InputError
from didact.generation.reader import vocabulary_head
from didact.model import Answer, Pretrained, check_fills
from didact.tokenization.tokenizer import frame


@torch.inference_mode()
def mask_predict(pretrained: Pretrained, texts: Sequence[str], rounds: int = 10) -> list[Answer]:
    """Each text with its blanks filled, however many: tokens: those of the blanks; score: the sum of the
    log-probabilities that they had when they were written.

    In round t of T (from 0) the m · (T - t) / T blanks of the lowest probability are written anew, all in the first;
    the others keep token and probability. Special tokens are never written. Raises InputError for a text without a
    blank or too long, and for a model that fills none.
    """
    model, tokenizer = pretrained.model.eval(), pretrained.tokenizer
    name, mask = vocabulary_head(model), tokenizer.mask
    check_fills(pretrained)
    if name is None or mask is None:
        raise InputError("this model fills no blanks", expected="one pre-trained to, with its tokenizer's mask token")
    if rounds < 1:
        raise InputError(f"{rounds} rounds", expected="at least 1")
    examples = [frame(tokenizer, encoded) for encoded in tokenizer.encode_many(texts, special=True)]
    sequences = lay(examples) if examples else None
    if sequences is None:
        return []
    tokens = sequences.tokens.copy()
    blanks = np.flatnonzero(tokens == mask)
    owner = np.searchsorted(sequences.cuts, blanks, side="right") - 1
    counts = np.bincount(owner, minlength=len(texts))
    for number, (example, count) in enumerate(zip(examples, counts, strict=True), 1):
        if not count:
            raise InputError(f"text {number} has no blank", expected=f"the mask token, {tokenizer.token(mask)}")
        if pretrained.maximum is not None and len(example) > pretrained.maximum:
            raise InputError(f"text {number} of {len(example)} tokens", expected=f"at most {pretrained.maximum}")
    never = [i for i in tokenizer.special_ids if i < model.config.vocabulary]
    likely = np.full(len(blanks), -np.inf)
    for done in range(rounds):
        again = _least(likely, owner, counts * (rounds - done) // rounds)
        if not len(again):
            continue
        tokens[blanks[again]] = mask
        side = Flat(sequences.cuts, tokens, sequences.segments).batch(range(len(texts))).inputs.to(model.device)
        asked = torch.from_numpy(blanks[again]).to(model.device)
        logits = model.answer(model.hidden(side), Labels(name, asked, asked)).float()
        logits[:, never] = float("-inf")
        best = logits.log_softmax(1).max(1)
        tokens[blanks[again]] = best.indices.cpu().numpy()
        likely[again] = best.values.cpu().double().numpy()
    return [
        Answer(
            tokenizer.decode(tokens[sequences.cuts[i] : sequences.cuts[i + 1]]),
            tuple(tokens[blanks[owner == i]].tolist()),
            float(likely[owner == i].sum()),
        )
        for i in range(len(texts))
    ]


def _least(likely: np.ndarray, owner: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of each text (n,) so many blanks, counts (n,), of the lowest probability: their numbers."""
    order = np.lexsort((likely, owner))
    begins = np.searchsorted(owner[order], np.arange(len(counts)))
    rank = np.arange(len(order)) - begins[owner[order]]
    return np.sort(order[rank < counts[owner[order]]])
