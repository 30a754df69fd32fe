"""Drawing a token: which ones take part, and the draw itself.

Each filter takes logits (n, V) and gives them with -inf for what does not take part; at least one token always does.

Shapes: n rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from didact.generation.decoding import Decoding
from didact.generation.top import top
from didact.randomness import keys, unit, words

NEVER = float("-inf")


def top_k(logits: Tensor, k: int) -> Tensor:
    """The k likeliest, and whatever is as likely as the last of them."""
    k = min(k, logits.shape[1])
    return logits.masked_fill(logits < top(logits, k)[0][:, -1:], NEVER)


def top_p(logits: Tensor, p: float) -> Tensor:
    """The likeliest ones whose probabilities add up to p or just above (Holtzman et al., 2020, §3.1)."""
    ordered, places = logits.sort(dim=1)
    below = ordered.softmax(1).cumsum(1) <= 1.0 - p
    below[:, -1] = False
    return logits.masked_fill(torch.empty_like(below).scatter_(1, places, below), NEVER)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Those at least p times as likely as the likeliest (Nguyen et al., 2024)."""
    likely = logits.softmax(1)
    return logits.masked_fill(likely < p * likely.amax(1, keepdim=True), NEVER)


def narrowed(logits: Tensor, decoding: Decoding) -> Tensor:
    """The logits that the token is drawn from, (n, V): temperature, then top-k, top-p and min-p in this order."""
    if decoding.temperature != 1.0:
        logits = logits / decoding.temperature
    if decoding.top_k:
        logits = top_k(logits, decoding.top_k)
    if decoding.top_p < 1.0:
        logits = top_p(logits, decoding.top_p)
    if decoding.min_p > 0.0:
        logits = min_p(logits, decoding.min_p)
    return logits


def uniforms(seed: int, prompts: np.ndarray, answers: int, step: int) -> Tensor:
    """One number in [0, 1) for each answer to each prompt at a step: prompts (B,), their numbers -> (B, answers)."""
    each = (prompts[:, None] * np.int64(2**20) + np.arange(answers)).reshape(-1)
    return torch.from_numpy(unit(words(keys(seed, each=each), step))).view(len(prompts), answers)


def finest(device: torch.device) -> torch.dtype:
    """What sums of many small numbers are kept in: float64, or float32 on Apple's devices, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """logits (n, V), uniform (n,) in [0, 1) float64 -> tokens (n,), by inversion of the distribution."""
    until = logits.to(finest(logits.device)).softmax(1).cumsum(1)
    at = uniform.to(until.device, until.dtype)[:, None] * until[:, -1:]
    token = torch.searchsorted(until, at, right=True).squeeze(1)
    # Rounding could put a number on the last border, behind which stand tokens that do not take part.
    last = logits.shape[1] - 1 - (logits > NEVER).int().flip(1).argmax(1)
    return torch.minimum(token, last)
