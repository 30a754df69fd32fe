"""A small corpus with a structure that can be learned, its files, and run files over them, for the tests of runs."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from didact import hub
from didact.exchange import keys
from didact.families import by_name
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.runs.corpus import prepare_store, train_tokenizer
from didact.tokenization.tokenizer import Tokenizer

TOPICS = ("river stone cloud water rain wind", "lamp paper glass table chair book", "song dance drum voice stage hall")
ROLES = {"red": "ADJ", "old": "ADJ", "runs": "VERB", "falls": "VERB"}

SMALL: dict[str, Any] = {"family": "bert", "layers": 1, "width": 16, "heads": 2, "feedforward": 32}


def small(family: str) -> dict[str, Any]:
    """The same sizes for any family, as far as it has them."""
    base = by_name(family).base
    sizes = SMALL | {"family": family, "heads": min(2, base.heads)}
    sizes |= {"position": {"maximum": 64}} if base.position.maximum is not None else {}
    return sizes | ({"characters": {"filters": [[1, 4], [3, 8]], "longest": 12}} if base.characters.filters else {})


def sentence(rng: random.Random, topic: int) -> str:
    """Words of one topic, among adjectives and verbs of all."""
    words = [*rng.choices(TOPICS[topic].split(), k=rng.randint(3, 5)), *rng.choices(list(ROLES), k=2)]
    rng.shuffle(words)
    return " ".join(words) + "."


def make_world(folder: Path) -> Path:
    """FOLDER/corpus.txt, tokenizer, store, and labelled files of every task, all drawn with one seed."""
    rng = random.Random(0)
    documents = ["\n".join(sentence(rng, i % 3) for _ in range(5)) for i in range(80)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    train_tokenizer([str(folder / "corpus.txt")], folder / "tokenizer", "wordpiece", 120)
    prepare_store([str(folder / "corpus.txt")], str(folder / "tokenizer"), folder / "store", validation=0.2)
    for split, count in (("train", 30), ("dev", 12), ("test", 12)):
        _labelled(folder, split, count, rng)
    return folder


def _labelled(folder: Path, split: str, count: int, rng: random.Random) -> None:
    texts = [sentence(rng, i % 3) for i in range(count)]
    labels = ["abc"[i % 3] for i in range(count)]
    rows = [f"{label}\t{text}" for label, text in zip(labels, texts, strict=True)]
    _write(folder / f"{split}.tsv", ["label\ttext", *rows])
    pairs = [f"{a}\t{b}\t{'yes' if i % 2 else 'no'}" for i, (a, b) in enumerate(zip(texts, texts[::-1], strict=True))]
    _write(folder / f"pair-{split}.tsv", ["premise\thypothesis\tlabel", *pairs])
    tagged = [[f"{w}\t{ROLES.get(w, 'NOUN')}" for w in text.rstrip(".").split()] + [""] for text in texts]
    _write(folder / f"{split}.conll", [line for lines in tagged for line in lines])
    for side, lines in (("en", texts), ("de", [" ".join(text.rstrip(".").split()[::-1]) for text in texts])):
        _write(folder / f"{split}.{side}", lines)  # the same words backwards
    alike = [f"{a}\t{b}\t{len(set(a.split()) & set(b.split()))}" for a, b in pairwise(texts)]
    _write(folder / f"alike-{split}.tsv", ["text\ttext_b\tscore", *alike])
    choices = [
        {"context": text, "choices": [sentence(rng, (i + k) % 3) for k in range(3)], "label": 0}
        for i, text in enumerate(texts)
    ]
    _write(folder / f"choice-{split}.jsonl", [json.dumps(choice) for choice in choices])
    paragraphs = []
    for i, text in enumerate(texts):
        word = next(w for w in text.rstrip(".").split() if w in ROLES)
        answer = {"text": word, "answer_start": text.index(word)}
        asked = {"id": f"{split}{i}", "question": f"which {ROLES[word]}?", "answers": [answer]}
        paragraphs.append({"context": text, "qas": [asked]})
    squad = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (folder / f"{split}.json").write_text(json.dumps(squad), encoding="utf-8")


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def writing_start(world: Path, folder: Path, family: str = "gpt2", **sizes: Any) -> Path:
    """A model of nothing that has learned nothing, of a family that writes."""
    tokenizer = Tokenizer.load(world / "tokenizer")
    own = by_name(family)
    small = {"layers": 1, "width": 16, "heads": 2, "feedforward": 32, "position.maximum": 128} | sizes
    config = keys.changed(own.base_for(tokenizer), small)
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0))
    hub.export(Pretrained(model, tokenizer, family), folder)
    return folder


def pretraining(world: Path, run: Path, **changes: Any) -> dict[str, Any]:
    """A run file's values for some steps of masked words and sentence order."""
    values: dict[str, Any] = {
        "run": str(run),
        "model": SMALL | {"position": {"maximum": 64}},
        "data": {"train": str(world / "store"), "format": "segment_pair", "length": 32},
        "objective": {"masked": {}, "sentence_order": {}},
        "batch": {"size": "8 sequences", "micro_tokens": 128},
        "budget": {"steps": 6},
        "validation": {"every": 3, "sequences": 12},
        "checkpoints": {"every": 3},
        "hardware": {"compile": "off"},
        "quiet": True,
    }
    return values | changes


def finetuning(world: Path, run: Path, start: Path, **changes: Any) -> dict[str, Any]:
    """A run file's values for a few steps of classification."""
    values: dict[str, Any] = {
        "run": str(run),
        "start": str(start),
        "task": {"classify": {}},
        "data": {split: str(world / f"{split}.tsv") for split in ("train", "dev", "test")},
        "length": 32,
        "batch": {"size": "8 sequences", "micro_tokens": 128},
        "budget": {"steps": 4},
        "optimizer": {"learning_rate": 1e-3},
        "hardware": {"compile": "off", "precision": "fp32"},  # as `didact evaluate` computes
        "quiet": True,
    }
    return values | changes
