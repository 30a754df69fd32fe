"""Masking and packing a step's sequences, against transformers' masking collator, which pads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from didact.lab.bench import material, ours
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, take_turns
from didact.lab.bench.step import collator_of
from didact.objectives import Masked


@dataclass(frozen=True)
class Masking(Benchmark):
    """sequences: of a step; longest: tokens of one; steps: of a round; vocabulary: pieces; rate: share masked."""

    name: ClassVar[str] = "masking"

    sequences: int = 256
    longest: int = 128
    steps: int = 8
    vocabulary: int = 30522
    rate: float = 0.15

    def small(self) -> Masking:
        return replace(self, sequences=8, longest=16, steps=2, vocabulary=200)

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for kind in ("full", "mixed"):
            with tempfile.TemporaryDirectory() as folder:
                yield self._outcome(kind, repeats, Path(folder))

    def _outcome(self, kind: str, repeats: int, folder: Path) -> Outcome:
        tokenizer = material.made_up_tokenizer(self.vocabulary)
        assert tokenizer.mask is not None
        tokenizer.save(folder)
        objective = Masked(tokenizer.mask, self.vocabulary, tokenizer.special_ids, rate=self.rate)
        lengths = material.lengths(kind, self.sequences * self.steps, seed=1, longest=self.longest)
        examples = material.made_up(lengths, self.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, 8192)
        tokens = sum(lengths)

        def mine() -> Work:
            def work(turn: int) -> float:
                for step in range(self.steps):
                    stream[(turn + 1) * self.steps + step]
                return tokens

            return work

        def theirs() -> Work:
            collator = collator_of(folder, self.rate)
            groups = [material.as_features(ours.members(stream, step)) for step in range(self.steps)]

            def work(turn: int) -> float:  # noqa: ARG001
                for group in groups:
                    collator(group)
                return tokens

            return work

        settings = {
            "sequences": self.sequences,
            "longest": self.longest,
            "steps_a_round": self.steps,
            "rate": self.rate,
            "processes": 1,
        }
        contenders = (Contender("didact", mine), Contender("DataCollatorForLanguageModeling", theirs))
        return take_turns(Case(self.name, f"{kind} lengths", "real tokens", contenders, settings), repeats)
