"""A small world with a known structure, to train on in a second: a Markov chain with a planted pair relation.

A document begins in one half of the symbols and ends in the other. An example is [CLS] A [SEP] B [SEP]; relation 0: A
is the beginning and B the end; relation 1: they are swapped. Inside a segment, symbols follow each other by TRANSITION.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nn_tools import CONFIGS, RECURRENT

from didact.batch import Example
from didact.config import Decoder, ModelConfig
from didact.data.stream import BySequences, Stream
from didact.model import Model, beside
from didact.objectives import (
    BidirectionalLM,
    Causal,
    Combined,
    Distilled,
    Forced,
    Masked,
    NextSentence,
    Objective,
    Permuted,
    Replaced,
    SentenceOrder,
    UniLM,
)
from didact.training.optim import AdamW
from didact.training.schedule import Budget, Schedule
from didact.training.settings import Settings
from didact.training.step import Step

CLS, SEP, MASK = 1, 2, 3
SPECIALS = (0, CLS, SEP, MASK)
SYMBOLS = 12  # two halves, each a chain of its own
FIRST = len(SPECIALS)
VOCABULARY = FIRST + SYMBOLS
NEXT = 0.85


def _transition() -> np.ndarray[Any, Any]:
    """From each symbol: to the next of its half with probability NEXT, else to the one after that."""
    half = SYMBOLS // 2
    matrix = np.zeros((SYMBOLS, SYMBOLS))
    for s in range(SYMBOLS):
        base = s // half * half
        matrix[s, base + (s - base + 1) % half] = NEXT
        matrix[s, base + (s - base + 2) % half] = 1 - NEXT
    return matrix


TRANSITION = _transition()


@dataclass(frozen=True)
class Chain:
    """The source. lengths: of a segment, shortest and longest; unrelated: every so many-th example has no relation;
    swapped: the share of pairs that are.
    """

    size: int = 4000
    lengths: tuple[int, int] = (6, 8)
    unrelated: int = 0
    swapped: float = 0.5

    def __len__(self) -> int:
        return self.size

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        swapped = int(rng.integers(2) if self.swapped == 0.5 else rng.random() < self.swapped)
        a, b = (self._segment(half, rng) for half in ((1, 0) if swapped else (0, 1)))
        tokens = np.concatenate([[CLS], a, [SEP], b, [SEP]]).astype(np.int64)
        segments = np.repeat([0, 1], [len(a) + 2, len(b) + 1])
        special = np.isin(tokens, SPECIALS)
        words = np.where(special, -1, np.cumsum(~special) - 1)
        targets = {} if self.unrelated and index % self.unrelated == 0 else {"relation": swapped}
        return Example(tokens, special, segments, words=words, targets=targets)

    def _segment(self, half: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Symbols of one half, as TRANSITION has them: each is one or two after the one before."""
        length = int(rng.integers(self.lengths[0], self.lengths[1] + 1))
        moves = np.where(rng.random(length) < NEXT, 1, 2)
        moves[0] = rng.integers(SYMBOLS // 2)
        return FIRST + half * SYMBOLS // 2 + np.cumsum(moves) % (SYMBOLS // 2)


def masked(**changes: Any) -> Masked:
    return Masked(mask_id=MASK, vocabulary=VOCABULARY, specials=SPECIALS, **changes)


def replaced(**changes: Any) -> Replaced:
    return Replaced(mask_id=MASK, vocabulary=VOCABULARY, specials=SPECIALS, **{"generator_size": 0.5, **changes})


MADE: tuple[Objective, ...] = (
    masked(),
    NextSentence(),
    SentenceOrder(),
    Distilled(),
    Causal(),
    UniLM(MASK, VOCABULARY, SPECIALS),
    replaced(),
    replaced(sharing="difference"),
    Permuted(),
    BidirectionalLM(),
    Forced(start=SEP),
    Combined((masked(), SentenceOrder()), (1.0, 0.25)),
)


def core_of(objective: Objective) -> dict[str, Any]:
    """What of a configuration gives a model the streams or the decoder that the objective asks."""
    if objective.decoder:
        return {"decoder": Decoder(layers=3, heads=4, feedforward=48, start=SEP), "segments": 0}
    if set(objective.streams) <= {"main"}:
        return {}
    return RECURRENT | CONFIGS["from characters"]


def model(objective: Objective, seed: int = 0, **changes: Any) -> Model:
    config = {"width": 32, "layers": 2, "heads": 2, "feedforward": 64}
    config |= {"segments": objective.segment_ids, "queries": objective.queries} | core_of(objective) | changes
    generator = torch.Generator().manual_seed(seed)
    return Model(ModelConfig(vocabulary=VOCABULARY, **config), objective.heads, generator)


def step_of(objective: Objective, seed: int = 0, **changes: Any) -> Step:
    """Its main model, and beside it those that it wants, or learns from: of its shape, drawn apart and wider."""
    main = model(objective, seed, **changes)
    models = beside(main, objective, torch.Generator().manual_seed(seed + 1))
    models |= {name: model(objective, seed + 1, **(changes | {"init_std": 0.5})) for name in objective.teachers}
    return Step(models, objective)


def stream_of(objective: Objective, sequences: int = 16, micro_tokens: int = 512, **changes: Any) -> Stream:
    return Stream(Chain(), objective, BySequences(sequences), micro_tokens, **changes)


def quick(steps: int = 8, **changes: Any) -> Settings:
    """Settings of a test: short, silent, uncompiled."""
    values: dict[str, Any] = {
        "budget": Budget(steps=steps),
        "optimizer": AdamW(3e-3),
        "schedule": Schedule("linear", 0.1),
        "device": "cpu",
        "precision": "fp32",
        "compile": "off",
        "log_every": 1,
        "save_minutes": None,
        "quiet": True,
    }
    return Settings(**(values | changes))
