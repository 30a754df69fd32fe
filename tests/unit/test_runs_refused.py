"""What does not go together, through the command: exit code 2 and one clear line, before anything is trained."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tools import pretraining, sentence, small

from didact.cli import main
from didact.runs.corpus import prepare_store, train_tokenizer

QUERIES = {"queries": True}
OPPOSED = {"family": "bert", "core": "opposed", "layers": 1, "width": 16, "heads": 2, "feedforward": 32}


@pytest.fixture(scope="module")
def stores(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores that lack something: documents of several sentences, a second document, a mask token."""
    import random

    folder = tmp_path_factory.mktemp("stores")
    rng = random.Random(1)
    texts = {
        "lines": "\n\n".join(sentence(rng, i % 3) for i in range(60)),
        "one document": "\n".join(sentence(rng, i % 3) for i in range(60)),
    }
    found = {"whole": world / "store"}
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
        found[name] = folder / name
        prepare_store([str(folder / f"{name}.txt")], str(world / "tokenizer"), found[name], validation=0.0)
    shutil.copytree(world / "tokenizer", folder / "three-tokenizer")
    file = folder / "three-tokenizer" / "tokenizer.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    begins = described["post_processor"]["pair"][0] if "pair" in described["post_processor"] else None
    assert begins is not None
    begins["SpecialToken"]["type_id"] = 2
    file.write_text(json.dumps(described), encoding="utf-8")
    found["three segments"] = folder / "three"
    prepare_store([str(world / "corpus.txt")], str(folder / "three-tokenizer"), found["three segments"], validation=0.2)
    train_tokenizer([str(world / "corpus.txt")], folder / "gpt2-tokenizer", "gpt2", 300)
    found["no mask"] = folder / "no mask"
    prepare_store([str(world / "corpus.txt")], str(folder / "gpt2-tokenizer"), found["no mask"], validation=0.2)
    return found


BAD: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    # store, model, objective, data, what is said
    "next sentence, one document": ("one document", {}, {"masked": {}, "next_sentence": {}}, {}, "one document"),
    "next sentence, documents of one sentence": (
        "lines", {}, {"masked": {}, "next_sentence": {}}, {}, "no document of two sentences",
    ),
    "sentence order, documents of one sentence": (
        "lines", {}, {"sentence_order": {}}, {}, "no document of two sentences",
    ),
    "next sentence, a format without pairs": (
        "whole", {}, {"next_sentence": {}}, {"format": "doc_sentences"}, "the objective asks about pairs",
    ),
    "permutation, causal family": ("whole", small("gpt2"), {"permuted": {}}, {}, "model.visibility: found 'causal'"),
    "permutation, causal family with query rows": (
        "whole", small("gpt2") | QUERIES, {"permuted": {}}, {}, "model.visibility: found 'causal'",
    ),
    "permutation, no query rows": ("whole", {}, {"permuted": {}}, {}, "model.queries is false"),
    "permutation, recurrent core": ("whole", small("elmo"), {"permuted": {}}, {}, "see by a rule of their own"),
    "permutation, opposed core": ("whole", OPPOSED, {"permuted": {}}, {}, "see by a rule of their own"),
    "UniLM, recurrent core": ("whole", small("elmo"), {"unilm": {}}, {}, "see by a rule of their own"),
    "UniLM, opposed core": ("whole", OPPOSED | {"segments": 6}, {"unilm": {}}, {}, "see by a rule of their own"),
    "UniLM, causal family": ("whole", small("gpt2"), {"unilm": {}}, {}, "model.visibility: found 'causal'"),
    "UniLM and permutation": ("whole", small("xlnet"), {"unilm": {}, "permuted": {}}, {}, "say who sees whom"),
    "masked words, causal family": ("whole", small("gpt2"), {"masked": {}}, {}, "model.visibility: found 'causal'"),
    "next token, a family that looks both ways": ("whole", {}, {"causal": {}}, {}, "model.visibility: found 'full'"),
    "next token, recurrent core": ("whole", small("elmo"), {"causal": {}}, {}, "model.visibility: found 'full'"),
    "two directions, one stream": ("whole", {}, {"bidirectional_lm": {}}, {}, "forward and backward stream"),
    "masked words, no mask token": ("no mask", {}, {"masked": {}}, {}, "the tokenizer has no mask token"),
    "replaced tokens, no mask token": (
        "no mask", small("electra"), {"replaced": {}}, {}, "the tokenizer has no mask token",
    ),
    "UniLM, no mask token": ("no mask", small("unilm"), {"unilm": {}}, {}, "the tokenizer has no mask token"),
    "smoothing beyond a share": (
        "whole", small("bart"), {"denoised": {"smoothing": 5.0}}, {}, "smoothing 5.0: a share",
    ),
    "replaced tokens beside others": (
        "whole", small("electra"), {"replaced": {}, "sentence_order": {}}, {}, "cannot stand beside",
    ),
    "next token and prefix": (
        "no mask", small("gpt2"), {"causal": {}, "prefix_lm": {}}, {}, "causal and prefix_lm each say who sees whom",
    ),
    "UniLM that only writes, a format without pairs": (
        "whole", small("unilm"), {"unilm": {"shares": [0, 0, 0, 1]}}, {"format": "full_sentences"}, "asks about pairs",
    ),
    "UniLM without a relation, a format without pairs": (
        "whole", small("unilm"), {"unilm": {"next_sentence": False}}, {"format": "full_sentences"}, "asks about pairs",
    ),
    "UniLM that only writes, documents of one sentence": (
        "lines", small("unilm"), {"unilm": {"shares": [0, 0, 0, 1]}}, {}, "no document of two sentences",
    ),
    "distilled words that nothing asked": (
        "whole", {}, {"distilled": {"rows": "asked"}}, {}, "nothing before it asks the vocabulary head",
    ),
    "distilled words that are asked later": (
        "whole", {}, {"distilled": {"rows": "asked"}, "masked": {}}, {}, "nothing before it asks the vocabulary head",
    ),
    "next sentence, no token before a pair": (
        "no mask", {}, {"next_sentence": {}}, {}, "objective.next_sentence: it asks the first row",
    ),
    "sentence order, read in segments": (
        "whole", small("xlnet"), {"permuted": {"segments": 2}, "sentence_order": {}}, {}, "the first sees no pair",
    ),
    "a tokenizer of three segments": ("three segments", {}, {"masked": {}}, {}, "found 2; expected 3, which the token"),
    "sequences longer than the positions": ("whole", {}, {"masked": {}}, {"length": 128}, "at most 64"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_go_together(
    name: str,
    stores: dict[str, Path],
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, model, objective, data, said = BAD[name]
    values = pretraining(world, tmp_path / "run", objective=objective)
    values |= {"model": model or values["model"], "batch": {"size": "8 sequences", "micro_tokens": 128}}
    values["data"] |= {"train": str(stores[store])} | data
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["didact", "pretrain", str(tmp_path / "run.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("didact: ")]
    assert ended.value.code == 2
    assert said in line
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
