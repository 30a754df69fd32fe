"""`didact finetune`, end to end at a size of seconds: seeds, learning rates, what is chosen by what, what it writes."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_tools import finetuning, small
from sklearn.metrics import accuracy_score
from transformers import AutoModelForSequenceClassification

from didact import hub
from didact.errors import InputError, NotANumber
from didact.exchange import keys
from didact.families import GPT2
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.runs import runfile
from didact.runs.corpus import train_tokenizer
from didact.runs.finetune import _best_seed, finetune
from didact.runs.schema import FinetuneRun
from didact.tasks import Classify
from didact.tasks.answering import answer
from didact.tokenization.tokenizer import Tokenizer


def run_of(world: Path, folder: Path, start: Path, **changes: Any) -> FinetuneRun:
    """changes: of the values, `begin` of "start" among them."""
    own = {"start": changes.pop("begin")} if "begin" in changes else {}
    return runfile.checked(FinetuneRun, finetuning(world, folder, start, **changes) | own)


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def tuned(world: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, two learning rates."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    return finetune(run_of(world, run, pretrained, seeds=[0, 1], learning_rates=[1e-5, 3e-2], budget={"epochs": 3}))


@pytest.mark.parametrize("kind", ["gpt2", "wordpiece"])
def test_a_causal_model_is_fine_tuned_on_its_last_token(kind: Any, world: Path, tmp_path: Path) -> None:
    """Where its tokenizer puts a token first, that one has seen nothing: refused, unless another row is asked."""
    train_tokenizer([str(world / "corpus.txt")], tmp_path / "tokenizer", kind, 300)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    sizes = {"layers": 1, "width": 16, "heads": 2, "feedforward": 32, "position.maximum": 64}
    config = keys.changed(GPT2.base, {**sizes, "vocabulary": tokenizer.vocabulary})
    start = Pretrained(Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)), tokenizer, "gpt2")
    hub.export(start, tmp_path / "start")
    values = finetuning(world, tmp_path / "run", tmp_path / "start", budget={"steps": 2})
    if kind == "wordpiece":
        with pytest.raises(InputError, match=r"task\.classify: asks the first token of a text"):
            finetune(runfile.checked(FinetuneRun, values))
        values |= {"task": {"classify": {"pooling": "last"}}, "run": str(tmp_path / "last")}
    run = finetune(runfile.checked(FinetuneRun, values))
    model = hub.load(run)
    texts = ["red river", "old lamp falls"]
    assert len(model.predict([{"text": text} for text in texts])) == 2
    assert model.embed(texts, "last").shape == (2, 16)
    with pytest.raises(InputError, match="the first row of a causal model sees only itself"):
        model.embed(texts, "cls")
    theirs = AutoModelForSequenceClassification.from_pretrained(run / "best")
    assert type(theirs).__name__ == "GPT2ForSequenceClassification"


def test_operations_are_those_of_every_step(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """Where the first batch is small."""

    def flops(name: str, steps: int, **batch: Any) -> float:
        batch |= {"micro_tokens": 128}
        run = finetune(run_of(world, tmp_path / name, pretrained, batch=batch, budget={"steps": steps}))
        return result(run)["seeds"]["0"]["flops"]

    one, grown = flops("one", 1, size="2 sequences"), flops("grown", 3, size="12 sequences", warmup=[[1, 2]])
    assert grown / one == pytest.approx(1 + 2 * 12 / 2, rel=0.2)


def test_the_learning_rate_is_chosen_on_dev_alone(tuned: Path) -> None:
    found = result(tuned)
    cells = {r: result(tuned / "seed-0" / f"rate-{r}") for r in ("1e-05", "0.03")}
    assert found["learning_rates"] == {r: cell["dev"]["accuracy"] for r, cell in cells.items()}
    best = max(found["learning_rates"].values())
    assert found["learning_rates"][f"{found['learning_rate']:g}"] == best
    assert found["seeds"]["0"] == cells[f"{found['learning_rate']:g}"]
    assert found["seeds"]["1"]["learning_rate"] == found["learning_rate"]
    assert not (tuned / "seed-1" / "rate-1e-05").exists(), "the other seeds take what was chosen"


def test_scores_are_those_of_the_predictions(tuned: Path, world: Path) -> None:
    """scikit-learn on the files that were written; `units` average to the main score."""
    for split in ("dev", "test"):
        gold = [line.split("\t")[0] for line in (world / f"{split}.tsv").read_text().splitlines()[1:]]
        for seed in ("0", "1"):
            predicted = rows(tuned / f"seed-{seed}" / f"predictions-{split}.jsonl")
            score = result(tuned)["seeds"][seed][split]["accuracy"]
            assert accuracy_score(gold, [p["label"] for p in predicted]) == pytest.approx(score)
            assert np.mean([p["units"][0] for p in predicted]) == pytest.approx(score)


def test_the_run_is_a_model(tuned: Path, world: Path) -> None:
    """RUN/best is the seed that is best on dev; transformers opens it and answers the same."""
    found = result(tuned)
    best = max(found["seeds"], key=lambda seed: found["seeds"][seed]["dev"]["accuracy"])
    assert found["seeds"][found["best_seed"]]["dev"] == found["seeds"][best]["dev"]
    model = hub.load(tuned)
    texts = [line.split("\t")[1] for line in (world / "test.tsv").read_text().splitlines()[1:]]
    ours = model.predict([{"text": text} for text in texts])
    assert [p["label"] for p in ours] == [
        p["label"] for p in rows(tuned / f"seed-{found['best_seed']}" / "predictions-test.jsonl")
    ]
    theirs = AutoModelForSequenceClassification.from_pretrained(tuned / "best").eval()
    for text, prediction in zip(texts, ours, strict=True):
        encoded = model.tokenizer.encode(text)
        ids = torch.tensor([[model.tokenizer.cls, *encoded.tokens.tolist(), model.tokenizer.sep]])
        with torch.no_grad():
            scores = theirs(input_ids=ids).logits.softmax(-1)[0]
        names = theirs.config.id2label
        assert {names[i]: float(s) for i, s in enumerate(scores)} == pytest.approx(prediction["scores"], abs=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_scores_are_computed_as_the_checkpoint_was_chosen(
    precision: str, world: Path, pretrained: Path, tmp_path: Path
) -> None:
    """In the precision of training, of which the written scores keep more digits than agree by chance."""
    hardware = {"compile": "off", "precision": precision, "device": "cpu"}
    run = finetune(run_of(world, tmp_path / "run", pretrained, hardware=hardware, budget={"epochs": 2}))
    model = hub.load(run)
    assert model.task is not None
    dev = model.task.read(world / "dev.tsv", model.tokenizer)
    written = [row["scores"] for row in rows(run / "seed-0" / "predictions-dev.jsonl")]
    for dtype in (torch.bfloat16, None):
        answers = answer(model.model, model.task, dev, 128, precision=dtype)
        again = [own["scores"] for own in model.task.decode(dev, answers)]
        assert (again == written) is ((dtype is not None) is (precision == "bf16"))
    found = [line for line in rows(run / "seed-0" / "metrics.jsonl") if line["kind"] == "validation"]
    best = [line["accuracy"] for line in found if line["step"] == result(run)["seeds"]["0"]["best_step"]]
    assert best == [result(run)["seeds"]["0"]["dev"]["accuracy"]]


def test_a_finished_run_is_said_again(tuned: Path, world: Path, pretrained: Path, capsys: Any) -> None:
    run = run_of(world, tuned, pretrained, seeds=[0, 1], learning_rates=[1e-5, 3e-2], budget={"epochs": 3})
    before = result(tuned)
    finetune(run)
    said = capsys.readouterr().err
    assert "finished" in said
    assert "2 seeds · accuracy" in said
    assert result(tuned) == before


def test_scratch_is_the_same_without_the_weights(world: Path, pretrained: Path, tmp_path: Path) -> None:
    runs = {
        name: finetune(run_of(world, tmp_path / name, pretrained, scratch=name == "scratch", budget={"steps": 1}))
        for name in ("pretrained", "scratch")
    }
    start = hub.load(pretrained).model.state_dict()
    a, b = (hub.load(run).model for run in runs.values())
    assert a.config == b.config
    name = "core.embedding.word.weight"
    near = [float((m.state_dict()[name] - start[name]).abs().max()) for m in (a, b)]
    assert near[0] < 0.002 < near[1], "one step away from the start, and drawn anew"
    assert result(runs["scratch"])["start"] is None


def test_choices_are_not_told_apart_by_a_token_that_saw_none(world: Path, tmp_path: Path) -> None:
    train_tokenizer([str(world / "corpus.txt")], tmp_path / "tokenizer", "wordpiece", 300)
    files = {split: str(world / f"choice-{split}.jsonl") for split in ("train", "dev")}
    own = {"tokenizer": str(tmp_path / "tokenizer"), "model": small("gpt2"), "task": {"choose": {}}, "data": files}
    with pytest.raises(InputError, match=r"task\.choose: asks the first token of a text"):
        finetune(run_of(world, tmp_path / "run", Path("none"), begin=None, **own))


@pytest.mark.parametrize("form", ["prefix", "masked"])
def test_streams_of_their_own_see_by_their_own_rule(form: str, world: Path, tmp_path: Path) -> None:
    files = {split: str(world / f"{split}.{{en,de}}") for split in ("train", "dev")}
    own = {"tokenizer": str(world / "tokenizer"), "model": small("elmo"), "data": files}
    own |= {"task": {"translate": {"form": form, "target_length": 8}}}
    with pytest.raises(InputError, match="recurrent core see by a rule of their own"):
        finetune(run_of(world, tmp_path / "run", Path("none"), begin=None, **own))


@pytest.mark.parametrize(("family", "task"), [("roberta", "classify"), ("transformer", "translate")])
def test_fresh_weights_of_a_family(family: str, task: str, world: Path, pretrained: Path, tmp_path: Path) -> None:
    """No checkpoint: a tokenizer and a family's name; seeds draw other weights, a seed the same ones."""
    files = "{}.tsv" if task == "classify" else "{}.{{en,de}}"
    own = {"tokenizer": str(world / "tokenizer"), "model": small(family), "budget": {"steps": 1}}
    own |= {"task": {task: {"target_length": 8} if task == "translate" else {}}, "seeds": [0, 1]}
    own |= {"data": {split: str(world / files.format(split)) for split in ("train", "dev")}}
    runs = [finetune(run_of(world, tmp_path / name, pretrained, begin=None, **own)) for name in "ab"]
    assert result(runs[0])["start"] is None
    loaded = [hub.load(run / f"seed-{seed}") for run in runs for seed in (0, 1)]
    assert {model.family for model in loaded} == {family}
    words = [model.model.state_dict()["core.embedding.word.weight"] for model in loaded]
    assert torch.equal(words[0], words[2])
    assert torch.equal(words[1], words[3])
    assert float((words[0] - words[1]).abs().max()) > 0.05
    assert loaded[0].tokenizer.fingerprint == hub.load(pretrained).tokenizer.fingerprint
    other = run_of(world, tmp_path / "c", pretrained, begin=None, **(own | {"model": small(family) | {"layer": 3}}))
    with pytest.raises(InputError, match=r"model\.layer: unknown key"):
        finetune(other)
    other = run_of(world, tmp_path / "d", pretrained, begin=None, **(own | {"model": small(family) | {"heads": 3}}))
    with pytest.raises(InputError, match=r"model"):
        finetune(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"begin": None}, "a start, or tokenizer and model.family"),
        ({"begin": None, "tokenizer": "t"}, "a start, or tokenizer and model.family"),
        ({"begin": None, "model": {"family": "bert"}}, "a start, or tokenizer and model.family"),
        ({"begin": None, "model": {"family": "bert"}, "tokenizer": "t", "scratch": True}, "without scratch"),
        ({"tokenizer": "t"}, "one thing that says how the weights begin, not start and tokenizer"),
        ({"model": {"family": "bert"}}, r"not start and model\.family"),
    ],
)
def test_one_thing_says_how_weights_begin(changes: dict[str, Any], message: str, world: Path, pretrained: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_of(world, Path("r"), pretrained, **changes)


@pytest.mark.parametrize(
    ("task", "files", "main"),
    [
        ({"tag": {}}, "{}.conll", "accuracy"),
        ({"classify": {"columns": {"text": "premise", "text_b": "hypothesis"}}}, "pair-{}.tsv", "accuracy"),
        ({"answer": {}}, "{}.json", "f1"),
        ({"choose": {}}, "choice-{}.jsonl", "accuracy"),
    ],
)
def test_the_other_cases(
    world: Path, pretrained: Path, tmp_path: Path, task: dict[str, Any], files: str, main: str
) -> None:
    data = {split: str(world / files.format(split)) for split in ("train", "dev", "test")}
    run = finetune(run_of(world, tmp_path / "r", pretrained, task=task, data=data, length=64))
    found = result(run)
    assert found["main"] == main
    assert found["items"] == {"train": 30, "dev": 12, "test": 12}
    assert 0.0 <= found["seeds"]["0"]["test"][main] <= 1.0
    assert len(rows(run / "seed-0" / "predictions-test.jsonl")) == 12
    assert hub.load(run).task is not None


def test_what_is_left_out_is_said(world: Path, pretrained: Path, tmp_path: Path, capsys: Any) -> None:
    lines = (world / "train.tsv").read_text().splitlines()
    (tmp_path / "long.tsv").write_text("\n".join([*lines, "a\t" + "river " * 60]) + "\n")
    run = finetune(run_of(world, tmp_path / "r", pretrained, data={"train": str(tmp_path / "long.tsv")}))
    assert "train: 1 texts cut to the length" in capsys.readouterr().err
    assert result(run)["counts"]["train"]["texts cut to the length"] == 1
    assert "dev" not in result(run)["seeds"]["0"]
    assert hub.load(run).task is not None, "the run is a model where no dev file says which is the best"


def test_mistakes_stop_it_before_training(world: Path, pretrained: Path, tmp_path: Path) -> None:
    text = (world / "test.tsv").read_text() + "d\tsome text\n"
    (tmp_path / "typo.tsv").write_text(text)
    data = {"train": str(world / "train.tsv"), "test": str(tmp_path / "typo.tsv")}
    with pytest.raises(InputError, match=r"typo\.tsv:14: found label 'd'; expected one of a, b, c"):
        finetune(run_of(world, tmp_path / "r", pretrained, data=data))
    with pytest.raises(InputError, match=r"learning_rates: several, and no data\.dev"):
        finetune(
            run_of(world, tmp_path / "q", pretrained, learning_rates=[1, 2], data={"train": str(world / "train.tsv")})
        )
    with pytest.raises(InputError, match="length: found 100; expected at most 64"):
        finetune(run_of(world, tmp_path / "l", pretrained, length=100, batch={"micro_tokens": 128}))
    assert not list(tmp_path.rglob("metrics.jsonl"))
    data |= {"test": str(world / "test.tsv")}
    assert result(finetune(run_of(world, tmp_path / "r", pretrained, data=data)))["items"]["test"] == 12
    with pytest.raises(InputError, match="this run was begun with"):
        finetune(run_of(world, tmp_path / "r", pretrained, data=data, seed=5))
    with pytest.raises(InputError, match=r"the file has no core\.blocks\.1\..*start_tiled"):
        finetune(run_of(world, tmp_path / "m", pretrained, data=data, model={"layers": 2}))
    with pytest.raises(InputError, match=r"model\.heads: found 4; expected 2, with which"):
        finetune(run_of(world, tmp_path / "m", pretrained, data=data, model={"heads": 4}))
    with pytest.raises(InputError, match=r"optimizer\.freeze: cannot freeze 7 layers of a model that has 1; expected"):
        finetune(run_of(world, tmp_path / "m", pretrained, data=data, optimizer={"freeze": 7}))
    finetune(run_of(world, tmp_path / "m", pretrained, data=data, optimizer={"freeze": 1}))


def test_a_run_killed_between_seeds_goes_on(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """Finished seeds are kept as they are; the summary is that of an unbroken run."""
    run = run_of(world, tmp_path / "a", pretrained, seeds=[0, 1])
    finetune(run)
    whole = result(run.run)
    (run.run / "result.json").unlink()
    kept = (run.run / "seed-0" / "result.json").stat().st_mtime_ns
    for file in sorted((run.run / "seed-1").rglob("*"), reverse=True):
        file.unlink() if file.is_symlink() or file.is_file() else file.rmdir()
    finetune(run)
    assert (run.run / "seed-0" / "result.json").stat().st_mtime_ns == kept
    assert _untimed(result(run.run)) == _untimed(whole)


def test_a_run_folder_may_be_moved_and_named_in_another_way(
    world: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(run_of(world, tmp_path / "a", pretrained))
    whole = result(tmp_path / "a")
    (tmp_path / "a" / "result.json").unlink()
    (tmp_path / "a" / "seed-0" / "result.json").unlink()
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    for folder in (Path("b"), tmp_path / "b"):  # the second finds it finished
        finetune(run_of(world, folder, pretrained))
        assert _untimed(result(folder)) == _untimed(whole)


def test_the_best_model_is_there_at_every_moment(
    world: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(world, tmp_path / "r", pretrained, budget={"steps": 1})
    finetune(run)
    (run.run / "result.json").unlink()
    (run.run / "best").unlink()
    (run.run / "best").symlink_to("seed-0/last")
    replace = os.replace

    def killed(a: Any, b: Any) -> None:
        if Path(b) == run.run / "best":
            raise KeyboardInterrupt
        replace(a, b)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(run)
    assert os.readlink(run.run / "best") == "seed-0/last"
    monkeypatch.undo()
    finetune(run)
    assert os.readlink(run.run / "best") == "seed-0/best"


def test_an_undefined_score_breaks_nothing(world: Path, pretrained: Path, tmp_path: Path, capsys: Any) -> None:
    """A dev file in which every question has an answer says nothing of those without; no seed is chosen by it."""
    own: dict[str, Any] = {"task": {"answer": {"nullable": True}}, "length": 64, "budget": {"steps": 1}}
    own |= {"data": {split: str(world / f"{split}.json") for split in ("train", "dev")}, "seeds": [0, 1]}
    run = run_of(world, tmp_path / "r", pretrained, **own)
    finetune(run)
    whole = result(run.run)
    assert whole["seeds"]["0"]["dev"]["no_answer_accuracy"] is None
    said = capsys.readouterr().err
    assert "no_answer_accuracy nan ± nan" in said
    finetune(run)
    assert capsys.readouterr().err.splitlines()[-1] == said.splitlines()[-1]
    (run.run / "result.json").unlink()
    finetune(run)
    assert result(run.run) == whole


@pytest.mark.parametrize("higher", [True, False])
def test_a_score_that_is_no_number_is_never_the_best(higher: bool) -> None:
    task = Classify(scores=("accuracy",)) if higher else Classify("regression", scores=("mse",))
    assert task.higher == higher

    def best(*values: float) -> str:
        return _best_seed(task, {str(seed): {"dev": {task.main: value}} for seed, value in enumerate(values)})

    assert best(math.nan, 0.3, 0.5, math.nan) == ("2" if higher else "1")
    assert best(math.inf, -math.inf, 0.5) == "2", "a result file says of both what it says of no number"
    assert best(math.nan, math.nan) == "0"


def test_a_finished_run_is_not_that_of_another_test_file(world: Path, pretrained: Path, tmp_path: Path) -> None:
    shutil.copy(world / "test.tsv", tmp_path / "test.tsv")
    data = {"train": str(world / "train.tsv"), "test": str(tmp_path / "test.tsv")}
    run = run_of(world, tmp_path / "r", pretrained, data=data, budget={"steps": 1})
    finetune(run)
    finetune(run)
    shutil.copy(world / "dev.tsv", tmp_path / "test.tsv")
    with pytest.raises(InputError, match=r"test\.tsv: not what this run .* was begun with"):
        finetune(run)


def test_a_learning_rate_that_diverges_is_not_chosen(
    world: Path, pretrained: Path, tmp_path: Path, capsys: Any
) -> None:
    run = run_of(world, tmp_path / "r", pretrained, learning_rates=[1e30, 1e-3])
    finetune(run)
    whole = result(run.run)
    assert "learning rate 1e+30: " in capsys.readouterr().err
    assert whole["learning_rate"] == 1e-3
    assert whole["learning_rates"] == {"1e+30": None, "0.001": whole["seeds"]["0"]["dev"]["accuracy"]}
    (run.run / "result.json").unlink()
    finetune(run)
    assert result(run.run) == whole, "nothing is trained again"


def test_where_every_learning_rate_diverges_it_is_said(world: Path, pretrained: Path, tmp_path: Path) -> None:
    run = run_of(world, tmp_path / "r", pretrained, learning_rates=[1e30, 1e31])
    with pytest.raises(NotANumber, match=r"at step \d"):
        finetune(run)
    assert not list(run.run.rglob("result.json")), "another start tries them again"


def _untimed(value: Any) -> Any:
    return {k: _untimed(v) for k, v in value.items() if k != "seconds"} if isinstance(value, dict) else value
