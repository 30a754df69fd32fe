"""didact.tasks.translate and its forms: what is read, what is asked, what is cut, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_tools import gpt
from task_tools import greedy, model_of, tokenizer

from didact.batch import Prepared
from didact.config import Decoder, ModelConfig, Position
from didact.data.lay import lay_prepared
from didact.errors import InputError
from didact.evaluation.evaluate import compare, evaluate
from didact.generation import WRITER
from didact.model import Pretrained
from didact.randomness import generator
from didact.tasks import Translate, from_json, to_json
from didact.tasks.answering import forced, predict
from didact.tasks.base import Counts, Dataset
from didact.tasks.columns import Source

WORDS = tokenizer("wordpiece")
CLS, SEP, MASK = (WORDS.id_of(name) or 0 for name in ("[CLS]", "[SEP]", "[MASK]"))
ROWS: list[dict[str, Any]] = [
    {"source": "the cat sat", "target": "on the mat"},
    {"source": "who won", "target": "marie curie won it"},
]


def ids(text: str) -> list[int]:
    return WORDS.encode(text).tokens.tolist()


def dataset(task: Translate, given: Source = ROWS) -> Dataset:
    return task.read(given, WORDS)


def made(task: Translate, i: int = 0, seed: int = 0) -> Prepared:
    return task.objective().prepare(dataset(task)[i], generator(seed))


def test_encoder_decoder() -> None:
    """The decoder reads the start token and the target without its last token; it is asked for the whole target."""
    p = made(Translate(form="encoder_decoder", start=7))
    target = [CLS, *ids("on the mat"), SEP]
    assert p.inputs.tokens.tolist() == [CLS, *ids("the cat sat"), SEP]
    assert p.outputs is not None
    assert p.outputs.tokens.tolist() == [7, *target[:-1]]
    (asked,) = p.labels
    assert (asked.side, asked.rows.tolist(), asked.values.tolist()) == ("outputs", list(range(len(target))), target)
    assert p.output_visibility.kind == "causal"
    assert p.visibility.kind == "full"
    with pytest.raises(InputError, match="begins with is not known"):
        made(Translate(form="encoder_decoder"))


@pytest.mark.parametrize("form", ["causal", "prefix"])
def test_one_sequence(form: Any) -> None:
    """Only the target is asked, each token of the row before it; the last token, which nothing follows, is not read."""
    task = Translate(form=form)
    p = made(task)
    source, target = [CLS, *ids("the cat sat"), *[SEP] * (form == "prefix")], [*ids("on the mat"), SEP]
    assert p.inputs.tokens.tolist() == source + target[:-1]
    (asked,) = p.labels
    assert asked.values.tolist() == target
    assert asked.rows.tolist() == list(range(len(source) - 1, len(source) + len(target) - 1))
    assert p.inputs.segments is not None
    assert p.inputs.segments.tolist() == [0] * len(source) + [int(form == "prefix")] * (len(target) - 1)
    side = lay_prepared([p, made(task, 1)]).batch([1, 0]).inputs
    seen = side.visibility.matrix(side.packed)[-len(p.inputs) :, -len(p.inputs) :]
    rows = torch.arange(len(p.inputs))
    wanted = rows[None, :] <= rows[:, None]
    if form == "prefix":
        wanted |= rows[None, :] < len(source)
    assert torch.equal(seen, wanted)


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "unigram", "gpt2"])
def test_a_border_between_source_and_target(kind: str) -> None:
    """The pair's separator, else the end of text; none where `after` is one, nor where a task was saved without."""
    config, words = (
        ModelConfig(vocabulary=400, visibility="causal"),
        gpt().tokenizer if kind == "gpt2" else tokenizer(kind),
    )
    task = Translate(length=12).suited(config, words)
    border = {"bytes": [words.sep] * 2, "gpt2": [words.eos]}.get(kind, [words.sep])
    head = [] if kind == "gpt2" else [words.cls]
    long = [{"source": "the cat sat on the mat " * 5, "target": "good"}]
    short = task.read(ROWS[1:], words)[0]
    assert short.tokens.tolist() == [*head, *words.encode("who won").tokens.tolist(), *border]
    cut = task.read(long, words)[0].tokens.tolist()
    assert len(cut) <= 12
    assert cut[-len(border) :] == border
    after = Translate(after=" = ").suited(config, words)
    assert after.border == ()
    assert after.read(ROWS, words)[0].tokens.tolist() == [*head, *words.encode("the cat sat = ").tokens.tolist()]
    saved = from_json({k: v for k, v in to_json(task).items() if k != "border"})
    assert saved.read(ROWS, words)[0].tokens.tolist() == [*head, *words.encode("the cat sat").tokens.tolist()]


def test_what_is_written_goes_on_with_what_was_learned() -> None:
    """Token by token by full passes over the task's own sequences, border included."""
    task = Translate().suited(ModelConfig(vocabulary=300, visibility="causal"), WORDS)
    model = model_of("translate causal", task, 16, 3).eval()
    assert model.config.segments  # a text that goes on is one segment
    found = dataset(replace(task, decoding={"maximum": 12}))
    written = Pretrained(model, WORDS, writer=WRITER).write(replace(task, decoding={"maximum": 12}))(found.examples)
    expected = greedy(model, task)(found.examples)
    assert [text.strip() for text in written] == [text.strip() for text in expected]
    bare = greedy(model, replace(task, border=()))(dataset(replace(task, border=())).examples)
    assert bare != expected


def test_masked() -> None:
    """A share of the target is hidden, at least one token, and asked where it stood; the source never is."""
    task = Translate(form="masked", mask=MASK, segment=4, share=0.5)
    whole = [CLS, *ids("the cat sat"), SEP, *ids("on the mat"), SEP]
    counts = []
    for seed in range(60):
        p = made(task, seed=seed)
        (asked,) = p.labels
        assert [whole[i] for i in asked.rows] == asked.values.tolist()
        assert [MASK if i in asked.rows else t for i, t in enumerate(whole)] == p.inputs.tokens.tolist()
        assert asked.rows.min() >= len(ids("the cat sat")) + 2
        assert np.array_equal(np.flatnonzero(p.hidden), asked.rows)  # type: ignore[arg-type]
        counts.append(len(asked.rows))
    n = len(ids("on the mat")) + 1
    assert abs(np.mean(counts) - n / 2) < 0.3
    assert p.inputs.segments is not None
    assert set(p.inputs.segments) == {4, 5}
    assert len(made(replace(task, share=1e-6)).labels[0].rows) == 1


def test_texts_around_the_source_stay_when_it_is_cut() -> None:
    long = [{"source": "the cat sat on the mat " * 5, "target": "good"}]
    task = Translate(form="causal", before="who : ", after=" = ", length=12)
    found = dataset(task, long)
    tokens = found[0].tokens.tolist()
    before, after = ids("who : "), ids(" = ")
    assert len(tokens) == 12
    assert tokens[1 : 1 + len(before)] == before
    assert tokens[-len(after) :] == after
    assert tokens[1 + len(before) : -len(after)] == ids(long[0]["source"])[: 11 - len(before) - len(after)]
    assert tokens[1:] == ids(found[0].targets["prompt"])
    assert found.counts["sources cut to the length"] == 1
    with pytest.raises(InputError, match=r"a source of .* tokens; expected at most 12"):
        dataset(replace(task, too_long="refuse"), long)
    with pytest.raises(InputError, match="leave it no room"):
        dataset(replace(task, before="the cat sat on the mat " * 3), long)


def test_special_tokens_that_the_task_names() -> None:
    """Before and after the source they are meant, in a source they are text, and not both in one text."""
    config = ModelConfig(vocabulary=300, segments=0, decoder=Decoder(start=9))
    task = Translate(before="[MASK] : ").suited(config, WORDS)
    assert from_json(to_json(task)) == task
    assert dataset(task)[0].tokens.tolist() == [CLS, MASK, *ids(": the cat sat"), SEP]
    odd = [*ROWS, {"source": "the [MASK] sat", "target": "good"}]
    with pytest.raises(InputError, match="records:3: a source with the name of a special token"):
        dataset(task, odd)
    plain = Translate(before="so : ").suited(config, WORDS)
    assert MASK not in dataset(plain, odd)[2].tokens
    old = from_json({k: v for k, v in to_json(task).items() if k != "special"})
    assert isinstance(old, Translate)
    assert MASK not in dataset(old, odd)[0].tokens, "as it was trained"


def test_a_target_cut_has_no_end() -> None:
    task = Translate(form="causal", target_length=2)
    found = dataset(task)
    assert [e.targets["target"].tolist() for e in found] == [ids(r["target"])[:2] for r in ROWS]
    assert found.counts["targets cut to the length"] == 2
    assert task.gold(found.items) == [("on the mat",), ("marie curie won it",)]
    with pytest.raises(InputError, match="records:1: a target of"):
        dataset(replace(task, too_long="refuse"))


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "unigram"])
def test_a_target_ends(kind: str) -> None:
    """With the tokenizer's own end where it puts one, whatever its template."""
    words = tokenizer(kind)
    for form in ("encoder_decoder", "causal"):
        task = Translate(form=form, start=0)  # type: ignore[arg-type]
        example = task.read(ROWS, words)[0]
        assert example.targets["target"][-1] == words.sep
        pieces = "".join(words.tokens(example.targets["target"])).translate(str.maketrans("Ġ▁", "  "))
        assert pieces.replace("##", "").replace("[CLS]", "").replace(" ", "") == "onthemat[SEP]"


def test_parallel_files(tmp_path: Path) -> None:
    (tmp_path / "t.en").write_text("the cat sat\nwho won\n", encoding="utf-8")
    (tmp_path / "t.de").write_text("on the mat\n\n", encoding="utf-8")
    pattern = tmp_path / "t.{en,de}"
    with pytest.raises(InputError, match=r"t\.de:2: an empty target"):
        Translate().items(pattern)
    counts = Counts()
    (item,) = Translate(empty="drop").items(pattern, counts=counts)
    assert (item.fields["source"], item.gold) == ("the cat sat", ("on the mat",))
    assert counts == {"rows without a target, left out": 1}
    (tmp_path / "t.de").write_text("on the mat\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lines 2 in .*t\.en, 1 in .*t\.de"):
        Translate().items(pattern)
    with pytest.raises(InputError, match="3 sides"):
        Translate().items(tmp_path / "t.{en,de,fr}")


def test_nothing_to_predict_is_left_out() -> None:
    with pytest.raises(InputError, match="records:2: an empty source"):
        Translate(empty="drop").items(["good", " "], labelled=False)
    assert [item.gold for item in Translate().items(["good", {"source": "bad"}], labelled=False)] == [None, None]


@pytest.mark.parametrize(
    ("task", "config", "wanted"),
    [
        (Translate(), {"visibility": "causal"}, ("causal", 0)),
        (Translate(), {}, ("prefix", 0)),
        (Translate(), {"segments": 6}, ("masked", 4)),
        (Translate(form="prefix"), {"segments": 6}, ("prefix", 4)),
        (Translate(form="causal"), {}, "causal, and the model looks both ways"),
        (Translate(form="prefix"), {"visibility": "causal"}, "prefix, and the model looks back"),
        (Translate(form="encoder_decoder"), {}, "the model has no decoder"),
        (Translate(), {"decoder": Decoder(start=9), "segments": 0}, ("encoder_decoder", 0)),
        (Translate(form="prefix"), {"decoder": Decoder(), "segments": 0}, "the model has a decoder"),
        (Translate(length=70), {"decoder": Decoder(), "segments": 0, "position": Position(maximum=64)}, "64 each"),
        (Translate(length=40, target_length=30), {"position": Position(maximum=64)}, "at most 64 in all"),
    ],
)
def test_the_form_goes_by_the_model(task: Translate, config: dict[str, Any], wanted: Any) -> None:
    made = ModelConfig(vocabulary=300, **config)
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            task.suited(made, WORDS)
        return
    suited = task.suited(made, WORDS)
    assert (suited.form, suited.segment) == wanted
    assert from_json(to_json(suited)) == suited


def test_likelihood_is_the_models() -> None:
    """Nats a token against log-softmax written out, one token at a time."""
    task = Translate(form="causal")
    model = model_of("translate causal", task, 16, 3).eval()
    found, total, right, count = dataset(task), 0.0, 0, 0
    for example in found:
        p = task.prepared(example, generator(0))
        for row, value in zip(p.labels[0].rows, p.labels[0].values, strict=True):
            logits = model(lay_prepared([p]).batch([0]))[0][row - p.labels[0].rows[0]].detach()
            total -= float(torch.log_softmax(logits.double(), -1)[value])
            right, count = right + (int(logits.argmax()) == value), count + 1
    scores = forced(model, task, found)
    assert scores == pytest.approx({"nll": total / count, "token_accuracy": right / count}, rel=1e-5)


def test_evaluate_and_predict_by_what_writes() -> None:
    task = Translate(form="causal", scores=("bleu", "exact", "per"))
    model = model_of("translate causal", task, 16, 3)
    found = dataset(task)
    written = iter([["on the mat", "marie curie"], ["on a mat", "marie"]])
    first = evaluate(model, task, found, write=lambda _: next(written), resamples=100)
    assert first.main == "bleu"
    assert first.values["exact"] == 0.5
    assert first.values["per"] == pytest.approx(2 / 7)
    assert first.signatures["bleu"].startswith("bleu|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert first.to_json()["signatures"] == first.signatures
    second = task.decode(found, next(written))
    paired = compare(task, first.predictions, second, found.items, resamples=100)
    assert paired["exact"].value == 0.5
    rows = predict(model, task, WORDS, ["who won"], write=greedy(model, task))
    assert [sorted(row) for row in rows] == [["id", "target"]]
    with pytest.raises(InputError, match="no decoding function"):
        evaluate(model, task, found)
    with pytest.raises(ValueError, match="1 texts written for 2 prompts"):
        evaluate(model, task, found, write=lambda _: ["one"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": ()},
        {"scores": ("blue",)},
        {"scores": ("bleu", "bleu")},
        {"share": 0.0},
        {"target_length": 0},
        {"target_length": -3},
        {"teaching_k": 10.0},
        {"guide": "monotonic"},
        {"guide_strength": 0.5, "copy": True},
        {"looking": 5},
    ],
    ids=str,
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    """Those too that would have no effect."""
    with pytest.raises(ValueError, match="expected"):
        Translate(**wrong)
