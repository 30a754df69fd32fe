"""What each hypothesis consists of so far, its prompt included.

Shapes: B prompts, R hypotheses of each, L tokens of the longest so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ABSENT = -1
"""stands before the first token of a shorter prompt"""


class History:
    """Tokens (B, R, L), prompts to the right, so that all hypotheses have their last token in the last column."""

    def __init__(self, prompts: Sequence[Sequence[int]], hypotheses: int, room: int, device: torch.device) -> None:
        self.start = self.length = max(map(len, prompts))
        self._all = torch.full((len(prompts), hypotheses, self.start + room), ABSENT, dtype=torch.int64)
        for b, prompt in enumerate(prompts):
            self._all[b, :, self.start - len(prompt) : self.start] = torch.tensor(prompt, dtype=torch.int64)
        self._all = self._all.to(device)

    @property
    def tokens(self) -> Tensor:
        """(B, R, L)."""
        return self._all[:, :, : self.length]

    @property
    def written(self) -> Tensor:
        """(B, R, new tokens)."""
        return self._all[:, :, self.start : self.length]

    @property
    def steps(self) -> int:
        """New tokens of each hypothesis."""
        return self.length - self.start

    def add(self, tokens: Tensor, parents: Tensor | None = None) -> None:
        """One more token each (B, R); with parents (B, R), hypothesis r first becomes a copy of hypothesis parents."""
        if parents is not None:
            self._all = self._all.gather(1, parents[:, :, None].expand(-1, -1, self._all.shape[2]))
        self._all[:, :, self.length] = tokens
        self.length += 1

    def keep(self, prompts: Tensor) -> None:
        """Only these prompts (n,), in this order."""
        self._all = self._all[prompts]
