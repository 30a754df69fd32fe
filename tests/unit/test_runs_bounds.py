"""Values that make no sense, through the command: exit code 2 and one line that names the key, before any training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tools import finetuning, pretraining

from didact.cli import main
from didact.errors import InputError
from didact.runs.build import changed
from didact.tasks import Classify, Tag

NAN, INF = float("nan"), float("inf")
ONE = {"masked": {}}

PRETRAIN: list[tuple[dict[str, Any], str]] = [
    ({"model.layers": 0}, "model: layers 0: at least 1"),
    ({"model.heads": 0}, "model: heads 0: at least 1"),
    ({"model.width": -16}, "model: width -16: at least 1"),
    ({"model.feedforward": 0}, "model: feedforward 0: at least 1"),
    ({"model.embedding_width": 0}, "model: embedding_width 0: at least 1"),
    ({"model.dropout": 1.0}, "model: dropout 1.0: a share, from 0 to below 1"),
    ({"model.dropout": -0.1}, "model: dropout -0.1: a share, from 0 to below 1"),
    ({"model.attention_dropout": 1.5}, "model: attention_dropout 1.5: a share, from 0 to below 1"),
    ({"model.decoder": {"layers": 0}}, "model.decoder: found {'layers': 0}; expected layers 0: at least 1"),
    ({"model": {"family": "modernbert", "width": 10, "heads": 2}}, "model: heads 5 wide with rotary positions"),
    ({"model": {"family": "deberta-v2", "position": {"buckets": 1}}}, "model.position: buckets 1: at least 4"),
    ({"model.segments": -1}, "model: segments -1: at least 0"),
    ({"model.init_std": -1}, "model: init_std -1.0: at least 0"),
    ({"model.init_std": NAN}, "model.init_std: found nan; expected a finite number"),
    ({"model.init_std": INF}, "model.init_std: found inf; expected a finite number"),
    ({"model.norms": {"eps": -1}}, "model.norms: eps -1.0: at least 0"),
    ({"model.norms": {"eps": NAN}}, "model.norms.eps: found nan; expected a finite number"),
    ({"model.recurrent": {"forget": NAN}}, "model.recurrent.forget: found nan; expected a finite number"),
    ({"model.mix": {"layers": "all", "toward_equal": -1}}, "model.mix: toward_equal -1.0: at least 0"),
    ({"model.mix": {"layers": "all", "toward_equal": NAN}}, "model.mix.toward_equal: found nan"),
    ({"model.characters": {"filters": [[1, 4]], "width": 0}}, "model.characters: width 0: at least 1"),
    ({"model.characters": {"filters": [[1, 4]], "highways": -1}}, "model.characters: highways -1: at least 0"),
    ({"model.position": {"offset": -1}}, "model.position: offset -1: at least 0"),
    ({"model.position": {"scheme": "rotary", "theta": 0}}, "model.position: theta 0.0: a number above 0"),
    ({"model.position": {"scheme": "bucketed", "distance": 8}}, "model.position: distance 8: above 8"),
    ({"model": {"family": "t5", "position": {"distance": 16}}}, "model: as the decoder has it, distance 16: above 16"),
    ({"model": {"family": "t5", "decoder": {"start": -1}}}, "model: decoder.start -1: from 0 to below"),
    ({"model": {"family": "t5", "decoder": {"start": 10**6}}}, "model: decoder.start 1000000: from 0 to below"),
    ({"objective": {"masked": {"mask": NAN}}}, "objective.masked.mask: found nan; expected a finite number"),
    ({"objective": {"masked": {"rate": [[100, 0.2], [0, 0.4]]}}}, "objective.masked: rate ((100, 0.2), (0, 0.4)): po"),
    ({"objective": {"masked": {"rate": [[0, NAN]]}}}, "objective.masked.rate.0.1: found nan; expected a finite"),
    ({"objective": {"masked": {"select": {"segments": {"mean": NAN}}}}}, "select.segments.mean: found nan"),
    ({"objective": {"unilm": {"shares": [NAN, NAN, NAN, NAN]}}}, "objective.unilm.shares.0: found nan"),
    ({"objective": {"replaced": {"generator_heads": 0}}}, "objective.replaced: generator_heads 0: at least 1"),
    ({"objective": {"denoised": {"corruptions": [{"mask": {"kept": NAN}}]}}}, "corruptions.0.mask.kept: found nan"),
    ({"objective": {"permuted": {"segments": 10**6}}, "model.family": "xlnet"}, "expected at most "),
    ({"model.windows": [None, -1]}, "model: windows [None, -1]"),
    ({"model.layer_groups": 3}, "model: layer_groups 3: from 1 to 1"),
    ({"objective": {"masked": {"select": {"ngrams": {"longest": 0}}}}}, "longest 0: at least 1"),
    ({"objective": {"masked": {"select": {"spans": {"longest": -1}}}}}, "select.spans: longest -1: at least 1"),
    ({"objective": {"masked": {"select": {"spans": {"p": 2.0}}}}}, "select.spans: p 2.0: a chance"),
    ({"objective": {"masked": {"select": {"in_context": {"longest": 0}}}}}, "longest 0: at least 1"),
    ({"optimizer.freeze": -1}, "optimizer.freeze: found -1"),
    ({"optimizer.learning_rate": INF}, "optimizer.learning_rate: found inf"),
    ({"optimizer.betas": [0.9, 1.0]}, "optimizer.betas.1: found 1.0"),
    ({"optimizer.betas": [-0.1, 0.9]}, "optimizer.betas.0: found -0.1"),
    ({"batch.warmup": [[-5, 4]]}, "batch.warmup.0.0: found -5"),
    ({"budget": {"epochs": INF}}, "budget.epochs: found inf"),
    ({"data.train": [{"store": "s", "weight": INF}]}, "data.train.0.weight: found inf"),
    ({"data.train": [{"store": "s", "weight": NAN}]}, "data.train.0.weight: found nan"),
    ({"data.train": []}, "data.train: found []; expected at least one"),
    ({"data.train": 3}, "data.train: found 3; expected a path, or a list of several"),
    ({"validation.rates": [0.15, 0.0]}, "validation.rates.1: found 0.0"),
    ({"validation.rates": [1.5]}, "validation.rates.0: found 1.5"),
    ({"validation.rates": [-0.1]}, "validation.rates.0: found -0.1"),
    ({"validation.rates": []}, "validation.rates: found []"),
    ({"validation.rates": [0.15, 0.1500000001]}, "expected each once, to six digits; given 0.15, 0.15"),
    ({"objective": {"masked": {"weight": INF}}}, "objective.masked.weight: found inf"),
    ({"objective": {"masked": {"select": {"spans": 3}}}}, "objective.masked.select.spans: found 3; expected keys"),
    ({"hardware.device": "cpu", "hardware.kernel": "flex"}, "kernel 'flex' on cpu"),
    ({"hardware.device": "cpu", "hardware.kernel": "varlen"}, "kernel 'varlen' on cpu"),
]

FINETUNE: list[tuple[dict[str, Any], str]] = [
    ({"task": {"classify": {"scores": ["pearson"]}}}, "task.classify: scores pearson of problem 'single'"),
    ({"task": {"classify": {"scores": ["mse"], "labels": ["a", "b", "c"]}}}, "task.classify: scores mse"),
    ({"task": {"classify": {"problem": "regression", "scores": ["accuracy"]}}}, "scores accuracy of problem"),
    ({"task": {"classify": {"problem": "multiple", "scores": ["accuracy"]}}}, "scores accuracy of problem"),
    ({"task": {"classify": {"positive": "z", "scores": ["f1"]}}}, "task.classify: positive 'z': one of a, b, c"),
    ({"task": {"classify": {"class_weights": [1.0, 2.0]}}}, "task.classify: 2 class_weights for 3 classes"),
    ({"task": {"classify": {"class_weights": [1.0, -2.0, 1.0]}}}, "task.classify: class_weights (1.0, -2.0, 1.0)"),
    ({"task": {"classify": {"class_weights": [NAN, 1.0, 1.0]}}}, "task.classify.class_weights.0: found nan"),
    ({"task": {"classify": {"threshold": NAN}}}, "task.classify.threshold: found nan; expected a finite number"),
    ({"task": {"embed": {"temperature": INF}}}, "task.embed.temperature: found inf; expected a finite number"),
    ({"model": {"init_std": -1}}, "model: init_std -1.0: at least 0"),
    ({"task": {"classify": {"class_weights": [0, 0, 0]}}}, "task.classify: class_weights (0.0, 0.0, 0.0)"),
    ({"task": {"classify": {"labels": ["a", "b", "c", "a"]}}}, "task.classify: labels a, b, c, a"),
    ({"task": {"classify": {"labels": []}}}, "task.classify: labels none"),
    ({"task": {"classify": {"threshold": 1.5}}}, "task.classify: threshold 1.5"),
    ({"task": {"classify": {"dropout": 1.0}}}, "task.classify: dropout 1.0: a share"),
    ({"task": {"classify": 3}}, "task.classify: found 3"),
    ({"task": {"classify": {"length": 2}}}, "task.classify.length: found 2; expected 4 or more"),
    ({"task": {"tag": {"length": -5}}}, "task.tag.length: found -5; expected 4 or more"),
    ({"task": {"choose": {"dropout": -1.0}}}, "task.choose: dropout -1.0: a share"),
    ({"task": {"glue": {"name": "cola", "dropout": 2.0}}}, "task.glue: dropout 2.0: a share"),
    ({"task": {"answer": {"longest": 0}}}, "task.answer: longest 0: at least 1"),
    ({"task": {"answer": {"question": 0}}}, "task.answer: question 0: at least 1"),
    ({"task": {"answer": {"stride": -1}}}, "task.answer: stride -1: at least 1"),
    ({"task": {"answer": {"best": 0}}}, "task.answer: best 0: at least 1"),
    ({"task": {"tag": {"stride": 0}}}, "task.tag: stride 0: at least 1"),
    ({"task": {"tag": {"default": "X"}}, "data": "conll"}, "task.tag: default 'X': one of ADJ, NOUN, VERB"),
    ({"task": {"tag": {"default": "O"}}, "data": "conll"}, "task.tag: default 'O': one of ADJ, NOUN, VERB"),
    ({"task": {"tag": {"ignore": ["ADJ", "NOUN", "VERB"]}}, "data": "conll"}, "no tag is left to be asked"),
    ({"task": {"tag": {"tags": ["A"], "ignore": ["A"]}}}, "no tag is left to be asked"),
    ({"learning_rates": [1e-5, 0.0]}, "learning_rates.1: found 0.0"),
    ({"learning_rates": [INF]}, "learning_rates.0: found inf"),
    ({"learning_rates": [NAN]}, "learning_rates.0: found nan"),
    ({"learning_rates": [1e-3, 1.0000001e-3]}, "expected each once, to six digits; given 0.001, 0.001"),
    ({"seeds": [0, -1]}, "seeds.1: found -1"),
    ({"seeds": [1, 2, 1]}, "seeds: found [1, 2, 1]; expected each seed once"),
    ({"data.train": []}, "data.train: found []; expected at least one"),
    ({"data.dev": None, "patience": 1}, "patience: found 1, and no data.dev to look at"),
    ({"model": {"dropout": 1.0}}, "dropout 1.0: a share"),
    ({"model": {"layers": 0}}, "layers 0: at least 1"),
    ({"model": {"layers": "three"}}, "model.layers: found 'three'; expected a whole number"),
    ({"model": {"depth": 3}}, "model.depth: unknown key; expected one of "),
    ({"model": {"position": 3}}, "model.position: found 3; expected keys and values"),
    ({"model": {"position": {"maximum": "x"}}}, "model.position.maximum: found 'x'"),
    ({"model": {"norms": "pre"}}, "model.norms: found 'pre'; expected keys and values"),
    ({"model": 3}, "model: found 3; expected keys and values"),
    ({"hardware.device": "cpu", "hardware.kernel": "flex"}, "kernel 'flex' on cpu"),
]


Refused = Callable[[str, dict[str, Any]], str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """verb and values of a run in `tmp_path` -> the one line that the command ends with; nothing is trained."""

    def line_of(verb: str, values: dict[str, Any]) -> str:
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["didact", verb, str(tmp_path / "run.yaml")])
        with pytest.raises(SystemExit) as ended:
            main()
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("didact: ")]
        assert ended.value.code == 2
        assert not [path for path in (tmp_path / "run").rglob("metrics.jsonl") if path.stat().st_size]
        return line

    return line_of


def change(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for path, value in changes.items():
        *sections, last = path.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return values


@pytest.mark.parametrize(("changes", "said"), PRETRAIN, ids=str)
def test_pretraining_refuses(changes: dict[str, Any], said: str, world: Path, tmp_path: Path, refused: Refused) -> None:
    values = change(pretraining(world, tmp_path / "run"), changes)
    assert said in refused("pretrain", values)


@pytest.mark.parametrize("key", ["start", "start_transferred", "start_tiled"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init_std": NAN}, "model.init_std: found nan; expected a finite number"),
        ({"init_std": -1}, "model: init_std -1.0: at least 0"),
        ({"position": {"offset": -1}}, "model.position: offset -1: at least 0"),
        ({"layers": "two"}, "model.layers: found 'two'; expected a whole number"),
    ],
    ids=str,
)
def test_pretraining_from_a_start_refuses(
    key: str, changes: dict[str, Any], said: str, world: Path, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    values = change(pretraining(world, tmp_path / "run"), {"model": {key: str(pretrained), **changes}})
    assert said in refused("pretrain", values)


@pytest.mark.parametrize(("changes", "said"), FINETUNE, ids=str)
def test_finetuning_refuses(
    changes: dict[str, Any], said: str, world: Path, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    if changes.get("data") == "conll":
        changes = changes | {"data": {split: str(world / f"{split}.conll") for split in ("train", "dev")}}
    values = change(finetuning(world, tmp_path / "run", pretrained), changes)
    assert said in refused("finetune", values)


def test_a_temperature_that_overflows(world: Path, tmp_path: Path, refused: Refused) -> None:
    both = [{"store": str(world / "store")}] * 2
    for temperature in (1e-3, 5e-324):
        values = change(pretraining(world, tmp_path / "run"), {"data.train": both, "data.temperature": temperature})
        line = refused("pretrain", values)
        assert f"data.temperature: found {temperature}" in line


def test_patience_needs_held_out_documents(world: Path, tmp_path: Path, refused: Refused) -> None:
    from didact.runs.corpus import prepare_store

    prepare_store([str(world / "corpus.txt")], str(world / "tokenizer"), tmp_path / "store", validation=0.0)
    values = pretraining(world, tmp_path / "run", objective=ONE)
    values = change(values, {"data.train": str(tmp_path / "store"), "validation.patience": 1})
    line = refused("pretrain", values)
    assert "validation.patience: found 1, and no document is held out" in line


def test_a_learned_task_takes_keys_and_values() -> None:
    with pytest.raises(InputError, match=r"task\.classify: found 3; expected keys and values"):
        changed(Classify(), 3, "task.classify")  # type: ignore[arg-type]


def test_what_stays_allowed() -> None:
    Classify(labels=("1", "2", "10"), scores=("spearman", "mse"))
    Classify(labels=("a", "b"), class_weights=(0.0, 1.0), dropout=0.0, threshold=1.0)
    Tag(tags=("B-X", "I-X"), default="O", spans="lenient")
