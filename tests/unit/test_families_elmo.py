"""ELMo from a store to the four kinds of task: its checkpoint, its characters, its mix of layers, frozen or not."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tools import finetuning, pretraining, small
from safetensors.torch import load_file
from training_tools import quick, step_of, stream_of

import didact
from didact import hub
from didact.errors import InputError, Interrupted
from didact.families import ELMO
from didact.heads import EmbeddingHead
from didact.hub.weights import read_json
from didact.model import Pretrained
from didact.nn.characters import BEGIN, END, CharacterCNN
from didact.nn.cores import build
from didact.objectives import BidirectionalLM
from didact.runs import runfile
from didact.runs.finetune import finetune
from didact.runs.inspect import inspect_run
from didact.runs.pretrain import pretrain
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.record import read_metrics


def run_of(world: Path, run: Path, **changes: Any) -> PretrainRun:
    values = pretraining(world, run, objective={"bidirectional_lm": {}}, model=small("elmo") | {"layers": 2})
    values["data"] |= {"format": "doc_sentences"}
    return runfile.checked(PretrainRun, values | changes)


@pytest.fixture(scope="module")
def elmo(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(run_of(world, tmp_path_factory.mktemp("elmo") / "run"))


def test_both_directions_are_measured(elmo: Path) -> None:
    found = json.loads((elmo / "result.json").read_text())["validation"]
    for direction in ("forward", "backward"):
        assert set(found) > {f"{direction}/{name}" for name in ("loss", "accuracy", "bits_per_byte", "bits_per_token")}
    assert found["loss"] == pytest.approx(found["forward/loss"] + found["backward/loss"])


def words_of(model: Pretrained) -> CharacterCNN:
    word = model.model.core.embedding.word
    assert isinstance(word, CharacterCNN)
    return word


def test_tokens_are_spelled_as_the_tokenizer_writes_them(elmo: Path) -> None:
    model = didact.load(elmo)
    for token in range(model.tokenizer.vocabulary):
        row = words_of(model).spelling[token].tolist()
        letters = row[row.index(BEGIN) + 1 : row.index(END)]
        assert bytes(letters).decode() == model.tokenizer.token(token)[:10]
    scratch = hub.load(elmo, scratch=True, generator=torch.Generator().manual_seed(5))
    assert torch.equal(words_of(scratch).spelling, words_of(model).spelling)
    assert not torch.equal(words_of(scratch).byte.weight, words_of(model).byte.weight)


def test_there_and_back(elmo: Path, tmp_path: Path) -> None:
    """Its own form, whose settings and tensors are called as here; and didact's, and back."""
    said = read_json(elmo / "last" / "config.json")
    assert (said["model_type"], "architectures" in said) == ("elmo", False)
    model = didact.load(elmo)
    assert model.model.config.characters.filters == ((1, 4), (3, 8))
    hub.export(model, tmp_path / "again")
    assert read_json(tmp_path / "again" / "config.json") == said
    before, after = (folder / "model.safetensors" for folder in (elmo / "last", tmp_path / "again"))
    assert before.read_bytes() == after.read_bytes()
    hub.convert(tmp_path / "again", tmp_path / "theirs")
    assert read_json(tmp_path / "theirs" / "config.json")["didact"]["family"] == "elmo"
    again = didact.load(tmp_path / "theirs")
    assert all(torch.equal(t, again.model.state_dict()[name]) for name, t in model.model.state_dict().items())


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "classify": ({"classify": {"pooling": "mean"}}, "", "tsv"),
    "pair": ({"classify": {"columns": {"text": "premise", "text_b": "hypothesis"}}}, "pair-", "tsv"),
    "tag": ({"tag": {}}, "", "conll"),
    "answer": ({"answer": {}}, "", "json"),
}


@pytest.mark.parametrize("freeze", [None, 2], ids=["all trained", "frozen"])
@pytest.mark.parametrize("case", CASES)
def test_the_four_cases(case: str, freeze: int | None, elmo: Path, world: Path, tmp_path: Path) -> None:
    task, prefix, ending = CASES[case]
    files = {split: str(world / f"{prefix}{split}.{ending}") for split in ("train", "dev")}
    changes: dict[str, Any] = {"task": task, "data": files, "length": 64}
    changes |= {"model": {"mix": {"layers": "all", "toward_equal": 0.01}}}
    changes |= {"optimizer": {"learning_rate": 1e-2, "freeze": freeze}, "budget": {"steps": 3}}
    run = finetune(runfile.checked(FinetuneRun, finetuning(world, tmp_path / "run", elmo, **changes)))
    before, after = didact.load(elmo).model.state_dict(), didact.load(run).model.state_dict()
    core = [name for name in before if name.startswith("core.") and not name.endswith("spelling")]
    assert all(torch.equal(before[name], after[name]) == (freeze is not None) for name in core)
    assert len(set(after["mix.s"].tolist())) == 3
    assert float(after["mix.gamma"]) != 1.0
    assert read_json(run / "best" / "config.json")["mix_layers"] == "all"


def test_it_learns_the_tags(elmo: Path, world: Path, tmp_path: Path) -> None:
    files = {split: str(world / f"{split}.conll") for split in ("train", "dev")}
    changes: dict[str, Any] = {"task": {"tag": {}}, "data": files, "model": {"mix": {"layers": "all", "norm": True}}}
    changes |= {"optimizer": {"learning_rate": 2e-2}, "budget": {"steps": 60}, "length": 64}
    run = finetune(runfile.checked(FinetuneRun, finetuning(world, tmp_path / "run", elmo, **changes)))
    score = json.loads((run / "result.json").read_text())["seeds"]["0"]["dev"]["accuracy"]
    assert score > 0.95  # 0.64 of the words are nouns


def test_interrupted_it_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    objective = BidirectionalLM()

    def train(folder: Path, stop_in: int | None = None) -> None:
        step = step_of(objective, dropout=0.2)
        seen = itertools.count()

        def interrupt(*_: Any) -> None:
            if next(seen) == stop_in:
                os.kill(os.getpid(), signal.SIGINT)

        step.register_forward_pre_hook(interrupt)
        fit(step, stream_of(objective, micro_tokens=96), quick(5, save_every=2), RunFolder(folder))

    train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", stop_in=10)
    train(tmp_path / "cut")
    runs = [tmp_path / name for name in ("whole", "cut")]
    losses = [[line["loss"] for line in read_metrics(run / "metrics.jsonl")] for run in runs]
    assert len(losses[0]) == 5
    assert losses[0] == losses[1]
    first, second = (load_file(run / "last" / "state" / "weights-00001.safetensors") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_asked_is_shown(elmo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_run(elmo / "run.yaml", [], examples=1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "forward [CLS]→" in shown
    assert "backward" in shown
    assert "[SEP]→" in shown.partition("backward ")[2]


def test_it_embeds_and_fills_no_blanks(elmo: Path, tmp_path: Path) -> None:
    model = didact.load(elmo)
    assert model.embed(["river stone", "lamp"]).shape == (2, 16)
    with pytest.raises(InputError, match="no vocabulary head"):
        model.fill("a [MASK]")
    embedding = hub.load(elmo, {"embedding": EmbeddingHead()})
    hub.export(embedding, tmp_path / "e")
    assert not (tmp_path / "e" / "modules.json").exists()  # sentence-transformers could not open it
    assert (didact.load(tmp_path / "e").embed(["lamp"]) == embedding.embed(["lamp"])).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": small("bert")}, "asks the forward and backward stream, and a transformer core has none"),
        ({"model": small("elmo") | {"heads": 4}}, "no heads"),
        ({"model": small("elmo") | {"core": "spiral"}}, "no core 'spiral'; there are transformer, recurrent"),
        ({"model": small("elmo") | {"characters": {"filters": [[99, 2]]}}}, "widths are at least 1"),
        ({"hardware": {"compile": "on"}}, "nothing of this model is compiled"),
    ],
    ids=["stream", "heads", "core", "filters", "compile"],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], message: str, world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        pretrain(run_of(world, tmp_path / "run", **changes))


def test_the_paper_s_model_is_of_the_paper_s_size() -> None:
    """93.6 M parameters, the softmax left out (allennlp.org/elmo), whose LSTMs have one bias where torch adds two."""
    with torch.device("meta"):
        core = build(ELMO.base)
    assert round(sum(p.numel() for name, p in core.named_parameters() if "bias_hh" not in name) / 1e6, 1) == 93.6
