"""`didact finetune`, `evaluate` and `predict` on tasks that write, and on sentence embeddings, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_tools import finetuning, writing_start

import didact
from didact.errors import InputError
from didact.generation.generate import generate_tokens
from didact.runs import runfile
from didact.runs.finetune import finetune
from didact.runs.schema import FinetuneRun
from didact.runs.use import evaluate_files, predict_files
from didact.tasks import Translate


def run_of(world: Path, folder: Path, start: Path, **changes: Any) -> FinetuneRun:
    return runfile.checked(FinetuneRun, finetuning(world, folder, start, **changes))


def translating(world: Path, **task: Any) -> dict[str, Any]:
    own = {"target_length": 24, "decoding": {"beams": 2}, "scores": ["chrf", "per"]} | task
    data = {split: str(world / f"{split}.{{en,de}}") for split in ("train", "dev", "test")}
    return {"task": {"translate": own}, "data": data, "length": 32}


FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {  # family -> the form it is asked in, and some of the tips
    "gpt2": ("causal", {"teaching": "exponential", "teaching_k": 0.9, "smoothing": 0.1}),
    "unilm": ("masked", {}),
    "bart": ("encoder_decoder", {"copy": True, "coverage": 0.5, "guided": 1.0, "teaching": "linear", "teaching_k": 99}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_to_write_after_a_text(family: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The likelihood of dev chooses while training; what is reported, and predicted later, is written by the model."""
    start = writing_start(world, tmp_path / "start", family)
    how: dict[str, Any] = {"beams": 2, "minimum": 3}  # of a model that has learned little, or nothing would be compared
    changes = translating(world, decoding=how, **FAMILIES[family][1])
    run = finetune(run_of(world, tmp_path / "run", start, **changes, budget={"steps": 40}))
    result = json.loads((run / "result.json").read_text())
    found = result["seeds"]["0"]["dev"]
    assert list(found) == ["chrf", "per", "nll", "token_accuracy"]
    lines = [json.loads(line) for line in (run / "seed-0" / "metrics.jsonl").read_text().splitlines()]
    nats = [line["nll"] for line in lines if "nll" in line]
    assert len(nats) >= 2
    assert nats[-1] < nats[0]
    assert found["nll"] == pytest.approx(min(nats), abs=1e-3)  # bf16, where the processor has it, in other batches
    model = didact.load(run)
    assert isinstance(model.task, Translate)
    assert model.task.form == FAMILIES[family][0]
    sources = (world / "dev.en").read_text().splitlines()
    written = [row["target"] for row in model.predict(sources)]
    kept = [json.loads(line) for line in (run / "seed-0" / "predictions-dev.jsonl").read_text().splitlines()]
    assert written == [row["target"] for row in kept]
    assert all(written)
    asked: list[Any] = model.generate(sources, **how, maximum=24)
    if border := model.task.border:  # a causal model is told where the source ends
        prompts = [[*model.tokenizer.encode(source).tokens, *border] for source in sources]
        asked = generate_tokens(model, prompts, **how, maximum=24)
    assert bool(border) == (family == "gpt2")
    assert written == [a[0].text.strip() for a in asked]
    evaluate_files(str(run), [world / "dev.{en,de}"], None, tmp_path / "scores.json")
    (scores,) = json.loads((tmp_path / "scores.json").read_text()).values()
    assert scores["scores"]["chrf"]["value"] == pytest.approx(found["chrf"])
    assert "chrf|case:mixed" in capsys.readouterr().err
    (tmp_path / "new.jsonl").write_text(json.dumps({"source": sources[0]}) + "\n", encoding="utf-8")
    predict_files(str(run), [tmp_path / "new.jsonl"], tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["target"] == written[0]


def test_what_is_cut_is_said_and_every_record_has_a_draw_of_its_own(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = writing_start(world, tmp_path / "start", "bart")
    changes = translating(world, decoding={"sample": True, "minimum": 3})
    run = finetune(run_of(world, tmp_path / "run", start, **changes, budget={"steps": 2}))
    monkeypatch.setattr("didact.runs.use._AT_ONCE", 2)
    (tmp_path / "new.jsonl").write_text((json.dumps({"source": "river stone " * 60}) + "\n") * 5, encoding="utf-8")
    capsys.readouterr()
    predict_files(str(run), [tmp_path / "new.jsonl"], tmp_path / "out.jsonl")
    assert "5 sources cut to the length" in capsys.readouterr().err
    texts = [json.loads(line)["target"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert texts == [row["target"] for row in didact.load(run).predict(["river stone " * 60] * 5)]
    assert len(set(texts)) == 5


def test_a_model_that_does_not_write_is_told_before_training(world: Path, pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at most 64 in all"):
        finetune(run_of(world, tmp_path / "run", pretrained, **translating(world, target_length=60)))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such field": ({"decoding": {"beam": 4}}, r"task\.translate\.decoding: decoding with beam"),
    "another kind": ({"decoding": {"beams": "x"}}, r"task\.translate\.decoding: beams 'x'"),
    "not together": ({"decoding": {"stop": ["a"], "phrases": ["b"]}}, "task.translate.decoding: "),
    "more than the positions": ({"decoding": {"maximum": 2000}}, "2000 new ones"),
    "no such piece": ({"decoding": {"first": "xx"}}, "a token for a decoder to begin with"),
    "no such tokens of BLEU": ({"scores": ["bleu"], "bleu_tokens": "foo"}, "foo"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_written_or_scored_is_refused_first(name: str, world: Path, tmp_path: Path) -> None:
    """Before anything is trained, and the folder serves the corrected run."""
    start = writing_start(world, tmp_path / "start")
    own, message = BAD[name]
    with pytest.raises(InputError, match=message):
        finetune(run_of(world, tmp_path / "run", start, **translating(world, **own), budget={"steps": 2}))
    assert not list((tmp_path / "run").rglob("metrics.jsonl"))
    run = finetune(run_of(world, tmp_path / "run", start, **translating(world), budget={"steps": 2}))
    assert (run / "result.json").is_file()


def test_a_model_that_cannot_write_is_refused_first(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """Unless there is nothing to be written: no dev, no test."""
    changes = translating(world)
    with pytest.raises(InputError):
        finetune(run_of(world, tmp_path / "run", pretrained, **changes, budget={"steps": 2}))
    assert not list((tmp_path / "run").rglob("metrics.jsonl"))
    data = {"train": changes["data"]["train"]}
    run = finetune(run_of(world, tmp_path / "bare", pretrained, **(changes | {"data": data}), budget={"steps": 2}))
    assert (run / "result.json").is_file()


def test_guidance_needs_a_strength(world: Path, tmp_path: Path) -> None:
    start = writing_start(world, tmp_path / "start", "bart")
    with pytest.raises(InputError, match="guide_strength 0"):
        finetune(run_of(world, tmp_path / "run", start, **translating(world, guided=1.0, guide_strength=0.0)))


def test_sentence_embeddings(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """From texts alone; what embeds is the vector before the projection; people's scores are judged by the cosine."""
    data = {"train": str(world / "train.tsv"), "dev": str(world / "alike-dev.tsv")}
    changes: dict[str, Any] = {"task": {"embed": {"group": 4, "pooling": "mean"}}, "data": data}
    with pytest.raises(InputError, match=r"model\.dropout: found 0, and two readings of one text"):
        finetune(run_of(world, tmp_path / "dry", pretrained, **changes))
    changes |= {"model": {"dropout": 0.1}}
    run = finetune(run_of(world, tmp_path / "run", pretrained, **changes))
    result = json.loads((run / "result.json").read_text())
    found = result["seeds"]["0"]["dev"]
    assert list(found) == ["spearman", "pearson"]
    model = didact.load(run)
    texts = [line.split("\t")[:2] for line in (world / "alike-dev.tsv").read_text().splitlines()[1:]]
    a, b = (model.embed([pair[k] for pair in texts]) for k in range(2))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    predicted = [row["score"] for row in model.predict([{"text": x, "text_b": y} for x, y in texts])]
    assert predicted == pytest.approx(cosines.tolist(), abs=1e-5)
    with pytest.raises(InputError, match="multiples of 4 sequences"):
        finetune(run_of(world, tmp_path / "odd", pretrained, **changes, batch={"size": "6 sequences"}))
    swapped = changes | {"data": {"train": data["dev"], "dev": data["dev"]}}
    with pytest.raises(InputError, match=r"alike-dev\.tsv:2: a pair with a score to learn from"):
        finetune(run_of(world, tmp_path / "swapped", pretrained, **swapped))
