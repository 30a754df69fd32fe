"""How likely a model thinks given continuations: the log-likelihood of each, its prompt given.

Shapes: n pairs, c tokens of one continuation, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.batch import Labels, Side
from didact.errors import InputError
from didact.generation.reader import Prompts, Reader, vocabulary_head
from didact.generation.ways import way_of
from didact.model import Pretrained
from didact.packed import Packed
from didact.tasks.answering import batches

_TOGETHER = 32  # prompts that are read together where tokens are fed one by one


@dataclass(frozen=True)
class Likelihood:
    """tokens: of the continuation, each with its natural log-probability; greedy: whether each is the likeliest there,
    so that greedy decoding writes just this.
    """

    tokens: tuple[int, ...]
    each: tuple[float, ...]
    greedy: bool

    @property
    def total(self) -> float:
        """The continuation's log-likelihood, in nats."""
        return sum(self.each)


@torch.inference_mode()
def likelihoods(pretrained: Pretrained, pairs: Sequence[tuple[str, str]], batch_tokens: int = 4096) -> list[Likelihood]:
    """Of each (prompt, continuation), in order. No end of the text is asked for.

    Where a prompt is continued (GPT), both are made tokens together and cut where the prompt's own tokens end, spaces
    at its end going with the continuation. batch_tokens: of one forward pass. Raises InputError for a continuation
    without tokens, and where a pair is too long.
    """
    way = way_of(pretrained)
    if way.continues:
        moved = [_spaces_moved(*pair) for pair in pairs]
        prompts = way.prompts(pretrained, [prompt for prompt, _ in moved], 0)
        every = way.prompts(pretrained, [prompt + text for prompt, text in moved], 0)
        # An empty prompt is read as the token that begins a text, which the text has not.
        alone = [not prompt for prompt, _ in moved]
        texts = [t[0 if only and p[0] != t[0] else len(p) :] for p, t, only in zip(prompts, every, alone, strict=True)]
    else:
        prompts = way.prompts(pretrained, [prompt for prompt, _ in pairs], 0)
        texts = [e.tokens.tolist() for e in pretrained.tokenizer.encode_many([text for _, text in pairs])]
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True), 1):
        if not text:
            raise InputError(f"pair {number}: a continuation without tokens", expected="a text")
        if pretrained.maximum is not None and len(prompt) + len(text) > pretrained.maximum:
            found = f"pair {number} of {len(prompt) + len(text)} tokens"
            raise InputError(found, expected=f"at most {pretrained.maximum}")
    if way.continues:
        return _packed(pretrained, prompts, texts, batch_tokens)
    return _forced(way.reader, prompts, texts)


def _spaces_moved(prompt: str, text: str) -> tuple[str, str]:
    kept = prompt.rstrip()
    return kept, prompt[len(kept) :] + text


def _packed(pretrained: Pretrained, prompts: Prompts, texts: Prompts, batch_tokens: int) -> list[Likelihood]:
    """All tokens at once: the row before each is asked for it."""
    model = pretrained.model.eval()
    name = vocabulary_head(model)
    assert name is not None
    found: list[Likelihood | None] = [None] * len(texts)
    sizes = torch.tensor([len(p) + len(t) for p, t in zip(prompts, texts, strict=True)]).numpy()
    for some in batches(sizes, batch_tokens):
        side = Side(Packed.of([[*prompts[i], *texts[i]] for i in some])).to(model.device)
        starts = side.packed.cu_seqlens.tolist()
        rows = [
            torch.arange(starts[j] + len(prompts[i]) - 1, starts[j + 1] - 1, device=model.device)
            for j, i in enumerate(some)
        ]
        asked = torch.cat(rows)
        logits = model.answer(model.hidden(side), Labels(name, asked, asked)).float()
        wanted = torch.tensor([token for i in some for token in texts[i]], device=model.device)
        each, greedy = _said(logits, wanted)
        sizes_of = [len(texts[i]) for i in some]
        for i, own, right in zip(some, each.split(sizes_of), greedy.split(sizes_of), strict=True):
            found[i] = Likelihood(tuple(texts[i]), tuple(own.tolist()), bool(right.all()))
    return [one for one in found if one is not None]


def _forced(reader: Reader, prompts: Prompts, texts: Prompts) -> list[Likelihood]:
    """Token after token, as in decoding, each the given one."""
    found = []
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        longest = max(map(len, some))
        logits = reader.start(prompts[start : start + _TOGETHER], 1, longest)
        wanted = torch.tensor([[*text, *[0] * (longest - len(text))] for text in some], device=logits.device)
        said = []
        for step in range(longest):
            said.append(_said(logits, wanted[:, step]))
            if step + 1 < longest:
                logits = reader.read(wanted[:, step, None])[:, 0]
        each, greedy = (torch.stack(column, 1) for column in zip(*said, strict=True))
        found += [
            Likelihood(tuple(text), tuple(each[i, : len(text)].tolist()), bool(greedy[i, : len(text)].all()))
            for i, text in enumerate(some)
        ]
    return found


def _said(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """logits (n, V), wanted (n,) -> log-probability of each, and whether it is the likeliest."""
    own = logits.gather(1, wanted[:, None]).squeeze(1)
    return own - logits.logsumexp(1), logits.argmax(1) == wanted
