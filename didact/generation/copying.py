"""Writing by a pointer-generator (See, Liu & Manning, 2017): at every step the model writes a token or copies one of
the prompt; what is compared, in any search, is the probability of both together. How much a step looks again where the
hypothesis has looked (coverage) is known as well.

Shapes: B prompts, R hypotheses of each, S rows of the longest prompt, V vocabulary, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from didact.batch import Labels, Side
from didact.generation.reader import Prompts, Writing
from didact.heads import Gate
from didact.model import Model
from didact.nn.attention import Context
from didact.nn.cache import Cache
from didact.nn.core import Hidden
from didact.nn.decoder import Decoder
from didact.nn.incremental import Beside
from didact.objectives.copying import mixed
from didact.packed import Packed
from didact.tasks.tips import GATES


def copies(model: Model) -> int | None:
    """The decoder's layer that points at what is copied; None where the model copies nothing."""
    gate = model.specs.get(GATES[0])
    if not isinstance(gate, Gate) or model.decoder is None:
        return None
    return gate.layer % len(model.decoder.blocks)


class Pointing(Beside):
    """A decoder that keeps where its newest rows look, in one layer, and what they read."""

    def __init__(self, layer: int, decoder: Decoder, word: torch.nn.Module, encoded: Tensor, source: Packed) -> None:
        super().__init__(decoder, word, encoded, source)
        self.layer_looked = layer
        sequence = source.sequence_ids()
        place = torch.arange(len(sequence), device=encoded.device) - source.cu_seqlens[:-1].long()[sequence]
        B, S = len(source.cu_seqlens) - 1, self.keys[0].shape[3]
        self.encoded = encoded.new_zeros(B, S, encoded.shape[1])
        self.encoded[sequence, place] = encoded
        self.tokens = torch.zeros(B, S, dtype=torch.int64, device=encoded.device)
        self.tokens[sequence, place] = source.tokens
        self.looks = self.read_rows = encoded

    def embed(self, packed: Packed) -> Tensor:
        self.read_rows = super().embed(packed)
        return self.read_rows

    def layer(self, i: int, x: Tensor, context: Context) -> Tensor:
        if i == self.layer_looked:
            block = self._blocks[i]
            q = block.cross.queries(block.norm_cross_in(block.looked_back(x, context)))
            q = q.unflatten(0, (len(self.encoded), -1)).transpose(1, 2)
            scale = q.shape[-1] ** -0.5 if block.cross.scale is None else block.cross.scale
            logits = (q @ self.keys[i][0].transpose(-1, -2)).float() * scale
            logits = logits if self.mask is None else logits + self.mask
            self.looks = logits.softmax(-1).mean(1)  # (B, rows, S)
        return super().layer(i, x, context)

    def keep(self, sequences: Tensor) -> None:
        super().keep(sequences)
        self.encoded, self.tokens = self.encoded[sequences], self.tokens[sequences]


class Copying(Writing):
    """An encoder-decoder that copies, too. What it says of the next token are log-probabilities."""

    def __init__(self, model: Model, begin: int, layer: int) -> None:
        super().__init__(model, begin)
        self.layer = layer
        self._looked: Tensor
        """(B, R, S): what all rows of a hypothesis have looked at (eq. 10), and, below, all but the newest"""
        self._looked_before: Tensor

    def start(self, prompts: Prompts, hypotheses: int, room: int) -> Tensor:
        source = Side(Packed.of(prompts)).to(self.model.device)
        encoded, word = self.model.hidden(source).main, self.model.core.embedding.word
        self.through = Pointing(self.layer, self.decoder, word, encoded, source.packed)
        self.cache = Cache(self.through, hypotheses, room + 1)
        self.cache.begin(torch.zeros(len(prompts), dtype=torch.int64, device=encoded.device))
        begun = torch.full((len(prompts), 1, hypotheses), self.begin, device=encoded.device)
        said = self._mixed(self.cache.read(begun))[:, 0]
        self._looked_before, self._looked = torch.zeros_like(self.through.looks), self.through.looks
        return said

    def read(self, tokens: Tensor) -> Tensor:
        said = self._mixed(self.cache.read(tokens[:, None]))
        self._looked_before, self._looked = self._looked, self._looked + self.through.looks
        return said

    def again(self) -> Tensor:
        """Σ over the prompt's rows of min(a, what was looked at of it before), eq. 12's term of one step."""
        return torch.minimum(self.through.looks, self._looked_before).sum(2)

    def move(self, parents: Tensor) -> None:
        super().move(parents)
        self._looked = self._looked.gather(1, parents[:, :, None].expand_as(self._looked))

    def keep(self, prompts: Tensor) -> None:
        super().keep(prompts)
        self._looked = self._looked[prompts]

    def _mixed(self, rows: Tensor) -> Tensor:
        """rows (B, 1, R, D) of the newest tokens -> log-probabilities (B, R, V)."""
        B, _, R, _ = rows.shape
        state, through = rows.flatten(0, 2), self.through
        context = (through.looks.to(through.encoded.dtype) @ through.encoded).flatten(0, 1)
        every = torch.arange(len(state), device=state.device)
        gate = torch.stack(
            [
                self.model.answer(Hidden({"main": own}), Labels(name, every, every))
                for name, own in zip(GATES, (state, context, through.read_rows), strict=True)
            ]
        ).sum(0)
        logits = self.scores(state)
        copied = logits.new_zeros(B, R, logits.shape[-1])
        copied.scatter_add_(2, through.tokens[:, None].expand(-1, R, -1), through.looks)
        return mixed(logits, gate, copied.flatten(0, 1)).view(B, R, -1)
