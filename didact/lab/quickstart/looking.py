"""A look inside: what the model fills blanks with, and what a model that only counts words would reach."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from didact.data.store import Store, write_aside
from didact.errors import InputError
from didact.hub import load
from didact.model import Pretrained
from didact.runs import pretrain, runfile
from didact.runs.schema import PretrainRun

BLANK = "[MASK]"  # in these texts; each model is asked with its own
# Asked of every model; the answers are anyone's.
ASKED = (
    f"Returns the {BLANK} of the array.",
    f"If {BLANK}, a copy of the data is made.",
    f"The number of {BLANK} to use.",
    f"Raises a {BLANK} if the input is not valid.",
    f"def __init__(self, {BLANK}=None):",
)
FROM_TEXTS = 7  # blanks in sentences of the topic task's test file, which nobody has trained on
WORDS = (7, 18)  # of such a sentence
TOP = 5


def look(out: str | Path) -> None:
    """OUT/looking.json: blanks filled; the entropy of words counted one by one; how large the model is; what it reached
    on the held-out documents before it went on, if it is not from nothing.
    """
    out = Path(out)
    model = load(str(out / "pretrain"))
    try:
        filled, why_not = blanks_filled(model, out / "tasks" / "topic" / "test.jsonl"), ""
    except InputError as problem:  # a start that fills none: GPT goes on, BART writes anew
        filled, why_not = [], str(problem)
    run = runfile.read(out / "pretrain.yaml", PretrainRun)
    parameters = sum(p.numel() for p in model.model.core.parameters())
    told = {
        "filled": filled,
        "not_filled": why_not,
        "before": {} if run.model.continued is None else pretrain.before(run),
        "unigram_nats": unigram_nats(Store(out / "store")),
        "parameters": parameters,
        "vocabulary": model.tokenizer.vocabulary,
    }
    write_aside(out / "looking.json", json.dumps(told, indent=1, ensure_ascii=False))


def blanks_filled(model: Pretrained, topics: Path) -> list[dict[str, Any]]:
    """What the model puts into each blank. Raises InputError of one that fills none."""
    mask, pieces = model.tokenizer.mask, model.tokenizer.tokens(range(model.tokenizer.vocabulary))
    own = BLANK if mask is None else pieces[mask]
    blanks = [(text, "") for text in ASKED] + (held_out(topics, set(pieces)) if topics.is_file() else [])
    return [
        {
            "text": text,
            "truth": truth,
            "top": [vars(one) for one in model.fill(text.replace(BLANK, own), top=TOP)[0]],
        }
        for text, truth in blanks
    ]


def held_out(file: Path, vocabulary: set[str]) -> list[tuple[str, str]]:
    """(sentence with a blank, what stood there): a word of at least five letters that is one piece; the choice of
    sentences and words hangs on a hash alone.
    """
    found: list[tuple[bytes, str, str]] = []
    for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
        text = json.loads(line)["text"]
        sentence = re.split(r"(?<=[.!?])\s", text)[0]
        words = sentence.split()
        if not (WORDS[0] <= len(words) <= WORDS[1] and sentence.endswith(".") and sentence[0].isupper()):
            continue
        choices = [w for w in words[1:] if w.isalpha() and w.islower() and len(w) >= 5 and w in vocabulary]
        mark = hashlib.sha256(sentence.encode()).digest()
        if choices:
            truth = choices[mark[0] % len(choices)]
            found.append((mark, re.sub(rf"\b{truth}\b", BLANK, sentence, count=1), truth))
    found.sort()
    return [(text, truth) for _, text, truth in found[:FROM_TEXTS]]


def unigram_nats(store: Store) -> float:
    """Nats a token that a model would need on the validation documents if it knew how often each token occurs in the
    training documents, and nothing else (one added to each count).
    """
    told = store.token_counts("train") + 1.0
    held = store.token_counts("validation")
    if not held.sum():
        return math.nan
    return -float((held * np.log(told / told.sum())).sum() / held.sum())
