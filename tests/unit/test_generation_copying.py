"""didact.generation.copying: beams of a model that copies, with and without a coverage penalty, against all texts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from didact.batch import Batch, Labels, Side
from didact.config import Decoder, ModelConfig
from didact.errors import InputError
from didact.generation.beams import search
from didact.generation.copying import Copying
from didact.generation.decoding import Decoding
from didact.generation.reader import Writing
from didact.heads import Vocabulary
from didact.model import Model
from didact.packed import Packed
from didact.tasks.tips import Read, copied, gates

END, START, LONGEST, WORDS = 0, 1, 4, 6
PROMPTS = ([3, 1, 4, 4], [2], [5, 2, 3])


@pytest.fixture(scope="module")
def model() -> Model:
    config = ModelConfig(
        vocabulary=WORDS, width=8, layers=2, heads=2, feedforward=12, segments=0, decoder=Decoder(start=START)
    )
    made = Model(config, {"vocabulary": Vocabulary(), **gates(-1)}, torch.Generator().manual_seed(0)).eval()
    drawn = torch.Generator().manual_seed(6)
    for name, p in made.named_parameters():  # rows that look somewhere in particular
        torch.nn.init.normal_(p, std=2.0 if "cross" in name else 0.5, generator=drawn)
    return made


def every() -> list[tuple[int, ...]]:
    """All texts: those that end, and those of full length that do not."""
    return [
        (*text, *end)
        for n in range(LONGEST + 1)
        for text in itertools.product(range(1, WORDS), repeat=n)
        for end in ([(END,)] if n < LONGEST else [()])
    ]


@torch.no_grad()
def judged(model: Model, prompt: list[int], texts: list[tuple[int, ...]]) -> list[tuple[float, float]]:
    """Of each text its log-likelihood and Σ_t Σ_i min(a_ti, Σ_s<t a_si), by a full pass and one number at a time."""
    outputs = Packed.of([[START, *text[:-1]] for text in texts])
    rows = torch.arange(len(outputs.tokens))
    asked = Labels("vocabulary", rows, rows, side="outputs")
    batch = Batch(Side(Packed.of([prompt] * len(texts))), (asked,), Side(outputs))
    read = Read.of(model, batch, 1)
    said = copied(model, batch, asked, read).double().numpy()
    found, row = [], 0
    for text, looks in zip(texts, read.looks, strict=True):
        a = looks.double().mean(0).numpy()
        likely = sum(said[row + t, token] for t, token in enumerate(text))
        again = sum(min(a[t, i], a[:t, i].sum()) for t in range(len(text)) for i in range(len(prompt)))
        found.append((float(likely), float(again)))
        row += len(text)
    return found


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_wide_beams_find_the_best_of_all(model: Model, length_penalty: float) -> None:
    texts, best = every(), {}
    for weight in (0.0, 4.0):
        settings = {"length_penalty": length_penalty, "early_stopping": "never", "coverage_penalty": weight}
        wide = Decoding(maximum=LONGEST, beams=len(texts), answers=5, **settings)  # type: ignore[arg-type]
        with torch.inference_mode():
            found = search(Copying(model, START, 1), PROMPTS, wide, (END,))
        for prompt, hypotheses in zip(PROMPTS, found, strict=True):
            scores = [
                (likely - weight * again) / len(text) ** length_penalty
                for text, (likely, again) in zip(texts, judged(model, prompt, texts), strict=True)
            ]
            order = np.argsort([-score for score in scores], kind="stable")[:5]
            assert [h.tokens for h in hypotheses] == [texts[i] for i in order]
            assert [h.score for h in hypotheses] == pytest.approx([scores[i] for i in order], abs=1e-4)
        best[weight] = [hypotheses[0].tokens for hypotheses in found]
    # Of likelihoods alone the shortest text is the best one here, which looks nowhere twice.
    assert length_penalty == 0.0 or best[0.0] != best[4.0]


@pytest.mark.parametrize("more", [{}, {"groups": 3, "diversity": 0.0}, {"phrases": ["x"]}], ids=str)
def test_narrow_beams_score_by_the_definition(model: Model, more: dict[str, object]) -> None:
    """Hypotheses that move, prompts that end before others, groups and phrases included."""
    decoding = Decoding(maximum=LONGEST, beams=3, answers=3, coverage_penalty=2.0, **more)  # type: ignore[arg-type]
    phrases = [[[2]]] * 3 if "phrases" in more else ()
    with torch.inference_mode():
        found = search(Copying(model, START, 1), PROMPTS, decoding, (END,), phrases=phrases)
    for prompt, hypotheses in zip(PROMPTS, found, strict=True):
        texts = [h.tokens for h in hypotheses]
        wanted = [(p - 2.0 * again) / len(t) for t, (p, again) in zip(texts, judged(model, prompt, texts), strict=True)]
        assert [h.score for h in hypotheses] == pytest.approx(wanted, abs=1e-4)


def test_a_model_that_copies_nothing(model: Model) -> None:
    with pytest.raises(InputError, match="coverage_penalty, and the model copies nothing"), torch.inference_mode():
        search(Writing(model, START), PROMPTS, Decoding(maximum=3, beams=2, coverage_penalty=1.0), (END,))
