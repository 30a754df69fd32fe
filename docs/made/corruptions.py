"""The page on corruptions: each one's words from its docstring, and what it makes of one short text, made by itself."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np

from didact.batch import Example, Prepared
from didact.data.lay import lay
from didact.objectives import (
    CORRUPTIONS,
    Corruption,
    Denoised,
    Fragment,
    Infill,
    Mask,
    Mass,
    Objective,
    PermuteSentences,
    PrefixLM,
    Segments,
    Sentinels,
    SpanCorruption,
    Suffix,
    Tokens,
    ul2,
)
from didact.objectives.corruption import Pieces
from didact.randomness import keys
from made import MADE

TEXT = "The river runs past the mill . Nobody works there now . Its wheel still turns ."
SPECIALS = ("<s>", "</s>", "[M]", *(f"<{i}>" for i in range(6)), "[R]", "[S]", "[X]")
VOCABULARY = (*SPECIALS, *dict.fromkeys(TEXT.split()), "stone", "lamp", "seven", "old")
SENTINELS = tuple(range(3, 9))
SPECIAL_IDS = tuple(range(len(SPECIALS)))
PIECES = Pieces(2, len(VOCABULARY), SPECIAL_IDS, SENTINELS)
MODES = {name: VOCABULARY.index(f"[{name}]") for name in "RSX"}

VARIANTS: tuple[tuple[str, Corruption], ...] = (
    ("mask: {random: 0.1, kept: 0.1}", Mask(0.5, random=0.1, kept=0.1)),
    ("mask: {select: fragment, rate: 0.5}", Mask(0.5, Fragment())),
    ("infill: {rate: 0.5, mean: 1}", Infill(0.5, 1.0)),
    ("sentinels: {rate: 0.4, select: tokens}", Sentinels(0.4, Tokens())),
)
OBJECTIVES: tuple[tuple[str, str, Objective], ...] = (
    (
        "denoised",
        "The text that was is written, whatever became of it.",
        Denoised(2, len(VOCABULARY), SPECIAL_IDS, 1, SENTINELS, (PermuteSentences(), Infill())),
    ),
    (
        "span_corruption",
        "What is missing is written behind the sentinel that stands for it.",
        SpanCorruption(SENTINELS, 1, 1, 0.3, Segments(2.0)),
    ),
    (
        "span_corruption: {select: suffix, sentinels_shown: false}",
        "A prefix is read, the rest is written.",
        SpanCorruption(SENTINELS, 1, 1, select=Suffix(), sentinels_shown=False),
    ),
    (
        "mass",
        "The decoder reads what the encoder cannot see, at its places in the text.",
        Mass(2, len(VOCABULARY), SPECIAL_IDS, 1),
    ),
    ("prefix_lm", "No decoder: the rows of the prefix see each other, later ones look back.", PrefixLM()),
    ("mixed", "UL2's denoisers, one of them for each text, which a token says.", ul2(SENTINELS, 1, 1, MODES)),
)


def example() -> Example:
    """<s> the text </s>."""
    tokens = np.array([0, *(VOCABULARY.index(word) for word in TEXT.split()), 1])
    special = np.isin(tokens, (0, 1))
    ends = np.flatnonzero(tokens == VOCABULARY.index(".")) + 1
    words = np.where(special, -1, np.arange(len(tokens)))
    return Example(tokens, special, words=words, sentences=np.array([1, *ends[:-1]]))


def spelled(tokens: Sequence[int] | np.ndarray) -> str:
    return " ".join(VOCABULARY[int(i)] for i in tokens)


def corrupted(corruption: Corruption, seed: int) -> str:
    """What is read of the text after it."""
    return spelled(corruption(lay([example()]), PIECES, keys(3, each=np.array([seed]))).tokens)


def said(cls: type[Corruption]) -> str:
    """The first paragraph of its docstring up to its keys."""
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    for mark in (" rate: ", " share: "):
        text = text.split(mark)[0]
    return text


def sides(prepared: Prepared) -> list[str]:
    """Both sides of one example, and what is asked."""
    (asked,) = [labels for labels in prepared.labels if len(labels.rows)]
    lines = [f"reads      {spelled(prepared.inputs.tokens)}"]
    if prepared.outputs is None:
        lines.append(f"asked      {spelled(asked.values)}      of rows {asked.rows[0]} to {asked.rows[-1]}")
        return lines
    lines += [f"decoder    {spelled(prepared.outputs.tokens)}", f"asked      {spelled(asked.values)}"]
    positions = prepared.outputs.positions
    if positions is not None and positions[0] > 0:
        lines.append(f"positions  {positions[0]} to {positions[-1]} of the decoder's rows")
    return lines


def corruptions() -> str:
    """docs/corruptions.md."""
    parts = [
        "# Corruptions: what becomes of a text before it is read",
        MADE,
        "An encoder-decoder can be taught by any way of breaking a text, since it writes the text anew. A corruption "
        "is a pure function of a text and a key, and corruptions follow each other: each reads what the one before it "
        "wrote. Here is one text, and what each makes of it.",
        f"```\n{spelled(example().tokens)}\n```",
        "Special tokens are walls. Nothing is done to them, and what changes its place stays between two of them: no "
        "sentence moves into another document of the same sequence. What a corruption wrote is moved with the rest and "
        "never chosen again. Where sentences begin is known from the store, whatever the tokenizer.",
        "Which tokens are hit is said by a [selection](objectives.md), the same ones that masked words are chosen by: "
        "`tokens`, `whole_words`, `spans` …, and three that encoder-decoders brought: `segments` (T5's spans), "
        "`fragment` (MASS's) and `suffix` (a prefix is kept). All keys: [run_file.md](run_file.md#corruptions).",
    ]
    for cls in CORRUPTIONS:
        lines = [(f"{cls.kind}", cls()), *((name, one) for name, one in VARIANTS if type(one) is cls)]
        width = max(len(name) for name, _ in lines)
        text = "\n".join(f"{name:{width}}   {corrupted(one, 5)}" for name, one in lines)
        parts += [f"## {cls.kind}", said(cls), f"```\n{text}\n```"]
    parts += [
        "# Objectives that corrupt",
        "What each side reads, and what the decoder's rows are asked. A decoder's row sees itself, the rows before it "
        "and all that the encoder made of its side.",
    ]
    for name, what, objective in OBJECTIVES:
        (prepared,) = objective([example()], keys(3, each=np.array([2]))).prepared()
        parts += [f"## {name}", what, "```\n" + "\n".join(sides(prepared)) + "\n```"]
    parts += [
        RUN,
        "The tokens that mark what is hidden, and those that say what is wanted, are a tokenizer's: "
        "`didact tokenizer … --sentinels 100 --special '[R]' --special '[S]' --special '[X]'` makes them, T5's own has "
        "them. A run whose sequences may have more spans than there are sentinels is refused before it begins.",
        "Read next: [objectives.md](objectives.md) · [objectives/corruption.py](../didact/objectives/corruption.py) · "
        "[objectives/infill.py](../didact/objectives/infill.py) · "
        "[objectives/fragments.py](../didact/objectives/fragments.py) · "
        "[objectives/mixed.py](../didact/objectives/mixed.py)",
    ]
    return "\n\n".join(parts) + "\n"


RUN = """```yaml
run: runs/bart
model: {family: bart}
data: {train: store, format: doc_sentences, length: 512}
objective:
  denoised:
    corruptions: [permute_sentences, {infill: {rate: 0.3, mean: 3}}]
budget: {steps: 1000}
```"""
