"""New rows alone, after what has been kept, are what a full pass over everything makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from nn_tools import CONFIGS, NORMS, tiny
from torch import Tensor

from didact.batch import Batch, Labels, Side
from didact.config import Decoder, ModelConfig, Position
from didact.exchange import keys
from didact.families import FAMILIES, Family
from didact.generation.reader import Blank, Cached, NextToken, Writing
from didact.heads import Vocabulary
from didact.model import Model
from didact.nn.cache import Cache
from didact.nn.incremental import Alone, for_steps
from didact.nn.position import POSITIONS
from didact.nn.transformer import Transformer, build
from didact.objectives.unilm import SEGMENTS, segments_of
from didact.packed import Packed
from didact.visibility import bidirectional, prefix

PROMPTS = (3, 1, 7, 2)
SCHEMES: dict[str, Position] = {entry.name: Position(entry.name) for entry in POSITIONS} | {
    "bucketed": Position("bucketed", buckets=8, distance=20, bidirectional=False),
    "rotary, two angles": Position("rotary", local_theta=10.0),
}
NOT_KEPT = ("disentangled",)  # terms of each key
SIZES = {"width": 16, "layers": 3, "heads": 4, "feedforward": 24, "vocabulary": 40, "position.maximum": 64}
WRITERS = [
    family
    for family in FAMILIES
    if family.base.core == "transformer" and (family.base.visibility == "causal" or family.base.segments >= SEGMENTS)
]

DECODERS = [family for family in FAMILIES if family.base.decoder is not None]


def drawn(lengths: tuple[int, ...]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(40, (n,), generator=generator).tolist() for n in lengths]


def full(core: Transformer, prompts: list[list[int]], texts: list[list[list[int]]]) -> Tensor:
    """What a pass over everything makes of the last row of each text, (B, R, D): the prompt sees itself, whole where
    the core does not look back.
    """
    rows = [[*prompt, *text] for prompt, own in zip(prompts, texts, strict=True) for text in own]
    before = [len(prompt) for prompt, own in zip(prompts, texts, strict=True) for _ in own]
    packed = Packed.of(rows)
    lengths = torch.tensor(before).repeat_interleave(torch.tensor(packed.lengths))
    seen = bidirectional() if core.visibility == "causal" else prefix(packed.positions, lengths)
    last = core(Side(packed, seen)).main[packed.cu_seqlens[1:].long() - 1]
    return last.view(len(prompts), -1, last.shape[-1])


@torch.inference_mode()
def check(config: ModelConfig, steps: int = 12, hypotheses: int = 3) -> Cache:
    """Random tokens; hypotheses that move at random after each; prompts that leave in the middle."""
    core = build(config, torch.Generator().manual_seed(1)).eval()
    generator = torch.Generator().manual_seed(2)
    cache = Cache(Alone(for_steps(core)), hypotheses, steps)
    prompts = drawn(PROMPTS)
    packed = Packed.of(prompts)
    torch.testing.assert_close(cache.fill(Side(packed)), core(Side(packed)).main, atol=1e-5, rtol=1e-5)
    texts: list[list[list[int]]] = [[[] for _ in range(hypotheses)] for _ in prompts]
    for step in range(steps):
        tokens = torch.randint(40, (len(prompts), hypotheses), generator=generator)
        rows = cache.read(tokens[:, None])[:, 0]
        texts = [
            [[*text, token] for text, token in zip(own, new, strict=True)]
            for own, new in zip(texts, tokens.tolist(), strict=True)
        ]
        torch.testing.assert_close(rows, full(core, prompts, texts), atol=1e-5, rtol=1e-5)
        parents = torch.randint(hypotheses, (len(prompts), hypotheses), generator=generator)
        cache.move(parents)
        texts = [[own[p] for p in moved] for own, moved in zip(texts, parents.tolist(), strict=True)]
        if step == steps // 2:
            left = [3, 0, 2]
            cache.keep(torch.tensor(left))
            prompts, texts = [prompts[b] for b in left], [texts[b] for b in left]
    return cache


@pytest.mark.parametrize("windows", [None, (2, None)], ids=["no window", "window"])
@pytest.mark.parametrize("visibility", ["causal", "full"])
@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name not in NOT_KEPT])
def test_for_every_position_scheme(scheme: str, visibility: Any, windows: Any) -> None:
    check(tiny(position=replace(SCHEMES[scheme], maximum=64), visibility=visibility, windows=windows))


@pytest.mark.parametrize("scheme", NOT_KEPT)
def test_what_cannot_be_kept_is_refused(scheme: str) -> None:
    with pytest.raises(ValueError, match="terms of each key"):
        check(tiny(position=replace(SCHEMES[scheme], maximum=64), segments=0))


@pytest.mark.parametrize("name", [name for name, c in CONFIGS.items() if c.get("core") in (None, "transformer")])
def test_for_every_configuration(name: str) -> None:
    check(tiny(**{"position": Position(maximum=64)} | CONFIGS[name]))


@pytest.mark.parametrize("norms", NORMS)
def test_for_every_norm_placement(norms: str) -> None:
    check(tiny(norms=NORMS[norms], position=Position(maximum=64), visibility="causal"))


def test_slots_on_nobodys_path_are_cleared_away() -> None:
    """Long enough that most slots lie on no path; what is left still is the full pass."""
    cache = check(tiny(position=Position(maximum=128), visibility="causal", layers=1), steps=70, hypotheses=4)
    assert cache.used < max(PROMPTS) + 4 * 70 / 2


@torch.inference_mode()
@pytest.mark.parametrize("family", WRITERS, ids=lambda family: family.name)
def test_for_every_family_that_writes(family: Family) -> None:
    """The logits of each step, against the model's own of a pack with everything written out."""
    config = replace(keys.changed(family.base, SIZES), init_std=0.3)
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(3)).eval()
    blank = config.visibility != "causal"
    segments = segments_of("seq2seq") if blank else (0, 0)
    reader: Cached = Blank(model, 4, *segments) if blank else NextToken(model)
    prompts, R = drawn(PROMPTS), 2
    generator = torch.Generator().manual_seed(4)
    logits = reader.start(prompts, R, 5)[:, None].expand(-1, R, -1)
    texts: list[list[list[int]]] = [[[] for _ in range(R)] for _ in prompts]
    for _ in range(5):
        rows = [
            ([*prompt, *text, *[4] * blank], len(prompt))
            for prompt, own in zip(prompts, texts, strict=True)
            for text in own
        ]
        types = [[segments[0]] * before + [segments[1]] * (len(row) - before) for row, before in rows]
        packed = Packed.of([row for row, _ in rows], types if config.segments else None)
        lengths = torch.tensor([before for _, before in rows]).repeat_interleave(torch.tensor(packed.lengths))
        seen = prefix(packed.positions, lengths) if blank else bidirectional()
        last = model.core(Side(packed, seen)).main[packed.cu_seqlens[1:].long() - 1]
        expected = model.heads["vocabulary"](last, None, model.core.embedding.table).view(len(prompts), R, -1)
        torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-5)
        tokens = torch.randint(40, (len(prompts), R), generator=generator)
        parents = torch.randint(R, (len(prompts), R), generator=generator)
        reader.move(parents)
        texts = [
            [[*own[p], token] for p, token in zip(moved, new, strict=True)]
            for own, moved, new in zip(texts, parents.tolist(), tokens.tolist(), strict=True)
        ]
        logits = reader.read(tokens)


@torch.inference_mode()
@pytest.mark.parametrize("family", DECODERS, ids=lambda family: family.name)
def test_for_every_family_with_a_decoder(family: Family) -> None:
    """Sources of several lengths, hypotheses that move, prompts that leave, against the decoder's own full pass."""
    config = replace(keys.changed(family.base, SIZES | {"layers": 2, "head_width": 5}), init_std=0.3)
    config = replace(
        config, decoder=Decoder(layers=3, start=2), position=replace(config.position, buckets=8, distance=20)
    )
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(3)).eval()
    reader, R = Writing(model, 2), 2
    prompts = drawn(PROMPTS)
    generator = torch.Generator().manual_seed(4)
    logits = reader.start(prompts, R, 6)[:, None].expand(-1, R, -1)
    texts: list[list[list[int]]] = [[[2] for _ in range(R)] for _ in prompts]
    for step in range(6):
        outputs = Packed.of([text for own in texts for text in own])
        inputs = Side(Packed.of([prompt for prompt in prompts for _ in range(R)]))
        last = outputs.cu_seqlens[1:].long() - 1
        asked = Labels("vocabulary", last, last, side="outputs")
        (expected,) = model(Batch(inputs, (asked,), Side(outputs)))
        torch.testing.assert_close(logits.flatten(0, 1), expected, atol=2e-5, rtol=1e-5)
        tokens = torch.randint(40, (len(prompts), R), generator=generator)
        parents = torch.randint(R, (len(prompts), R), generator=generator)
        reader.move(parents)
        texts = [
            [[*own[p], token] for p, token in zip(moved, new, strict=True)]
            for own, moved, new in zip(texts, parents.tolist(), tokens.tolist(), strict=True)
        ]
        if step == 3:
            left = [2, 0]
            reader.keep(torch.tensor(left))
            prompts, texts, tokens = [prompts[b] for b in left], [texts[b] for b in left], tokens[left]
        logits = reader.read(tokens)


def test_there_are_families_that_write() -> None:
    assert {"gpt2", "openai-gpt", "unilm"} <= {family.name for family in WRITERS}
    assert {"bart", "mbart", "t5", "mt5", "transformer"} <= {family.name for family in DECODERS}
