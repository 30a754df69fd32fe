"""`didact pretrain`, end to end at a size of seconds: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from data_tools import small_store
from run_tools import SMALL, pretraining, small
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

from didact import hub
from didact.batch import Batch
from didact.data.lay import lay
from didact.data.store import Store
from didact.data.stream import Stream
from didact.errors import InputError
from didact.runs import runfile
from didact.runs.corpus import prepare_store, train_tokenizer
from didact.runs.inspect import inspect_run
from didact.runs.pretrain import _check_asked, assemble, pretrain, pretrain_file
from didact.runs.schema import PretrainRun
from didact.tokenization.tokenizer import frame
from didact.training.flops import step_flops


def run_of(world: Path, folder: Path, **changes: Any) -> PretrainRun:
    return runfile.checked(PretrainRun, pretraining(world, folder, **changes))


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_leaves(pretrained: Path, world: Path) -> None:
    result = json.loads((pretrained / "result.json").read_text())
    assert result["steps"] == 6
    assert result["stopped"] == "budget"
    lines = metrics(pretrained)
    assert result["tokens"] == max(line.get("tokens", 0) for line in lines)
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [3, 6]
    assert {"mlm@15/bits_per_byte", "mlm@30/loss", "mlm@40/accuracy", "sop/accuracy"} <= result["validation"].keys()
    assert yaml.safe_load((pretrained / "run.yaml").read_text())["run"] == str(pretrained)
    model = hub.load(pretrained)
    assert model.tokenizer.fingerprint == Store(world / "store").fingerprint
    assert len(model.fill("the [MASK] runs", 3)[0]) == 3


def test_operations_are_those_of_every_step(world: Path, tmp_path: Path) -> None:
    """Left and gone on with, in batches and at rates that grow."""
    grown = {"batch": {"size": "16 sequences", "micro_tokens": 128, "warmup": [[2, 1], [4, 4]]}}
    grown |= {"objective": {"masked": {"rate": [[0, 0.05], [4, 0.6]]}}}
    pretrain(run_of(world, tmp_path / "run", until=3, **grown))
    pretrain(run_of(world, tmp_path / "run", **grown))
    parts = assemble(run_of(world, tmp_path / "run", **grown))
    each = [step_flops(parts.models, parts.stream[step]) for step in range(6)]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["flops"] == sum(each) > 3 * 6 * each[0]


def test_who_may_read_the_folder_may_read_the_run(pretrained: Path) -> None:
    """Groups share runs: no file is its owner's alone, whatever a library thinks of it."""
    for path in pretrained.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o444 == path.parent.stat().st_mode & 0o444, path


def test_others_read_it_as_it_was_trained(pretrained: Path) -> None:
    """Masked words and sentence order are BERT's two heads; transformers opens both and loses nothing."""
    theirs, loading = AutoModelForPreTraining.from_pretrained(pretrained / "last", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert type(theirs).__name__ == "BertForPreTraining"


def test_a_finished_run_is_left_alone(pretrained: Path, world: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in pretrained.rglob("*") if p.is_file() and p.name != "run.yaml"}
    assert pretrain(run_of(world, pretrained)) == pretrained
    assert before == {p: p.stat().st_mtime_ns for p in pretrained.rglob("*") if p.is_file() and p.name != "run.yaml"}


def test_other_settings_need_another_folder(pretrained: Path, world: Path) -> None:
    with pytest.raises(InputError, match=r"run\.yaml: seed: this run was begun with 0, now 3"):
        pretrain(run_of(world, pretrained, seed=3))
    pretrain(run_of(world, pretrained, hardware={"compile": "off", "threads": 1}))  # only how, not what


def test_a_run_is_left_and_gone_on_with(pretrained: Path, world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "left"
    assert pretrain(run_of(world, folder, until=2, log_every=1)) == folder
    assert not (folder / "result.json").exists()
    lines = [line for line in metrics(folder) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert hub.load(folder).tokenizer.fingerprint == Store(world / "store").fingerprint
    pretrain(run_of(world, folder))
    assert json.loads((folder / "result.json").read_text())["steps"] == 6
    whole, left = (load_file(run / "last" / "model.safetensors") for run in (pretrained, folder))
    assert all(torch.equal(value, left[name]) for name, value in whole.items())


def test_the_run_file_repeats_the_run(pretrained: Path, tmp_path: Path) -> None:
    """The resolved run file, in another folder: the same numbers, bit for bit."""
    again = pretrain_file(pretrained / "run.yaml", [f"run={tmp_path / 'again'}"])
    timed = {"seconds", "tokens_per_second", "memory_mib", "mfu"}
    assert [{k: v for k, v in line.items() if k not in timed} for line in metrics(again)] == [
        {k: v for k, v in line.items() if k not in timed} for line in metrics(pretrained)
    ]
    assert (again / "last" / "model.safetensors").read_bytes() == (
        pretrained / "last" / "model.safetensors"
    ).read_bytes()


def test_a_run_continues_from_a_checkpoint(pretrained: Path, world: Path, tmp_path: Path) -> None:
    start = hub.load(pretrained).model.state_dict()
    run = run_of(world, tmp_path / "more", model={"start": str(pretrained), "dropout": 0.0}, budget={"steps": 1})
    parts = assemble(run)
    assert parts.pretrained.model.config.dropout == 0.0
    assert all(torch.equal(value, start[name]) for name, value in parts.pretrained.model.state_dict().items())


def test_a_run_starts_from_a_smaller_model(pretrained: Path, world: Path, tmp_path: Path) -> None:
    """Tiled into larger sizes: the smaller model's weights stand in the middle, and it trains from there."""
    sizes = {"width": 24, "heads": 3, "layers": 3, "feedforward": 48}
    run = run_of(world, tmp_path / "more", model={"start_tiled": str(pretrained), **sizes}, budget={"steps": 2})
    state, small = (p.model.state_dict() for p in (assemble(run).pretrained, hub.load(pretrained)))
    name = "core.blocks.2.feedforward.down.weight"
    assert torch.equal(state[name][4:20, 8:40], small["core.blocks.0.feedforward.down.weight"])
    config = hub.load(pretrain(run)).model.config
    assert (config.width, config.heads, config.layers, config.feedforward) == (24, 3, 3, 48)
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path / "more" / "last")).__name__ == "BertForPreTraining"
    smaller = run_of(world, tmp_path / "less", model={"start_tiled": str(pretrained), "feedforward": 8})
    other = run_of(world, tmp_path / "other", model={"start": str(pretrained), "family": "gpt2"})
    with pytest.raises(InputError, match=r"model\.family: found gpt2; expected bert"):
        assemble(other)
    with pytest.raises(InputError, match=r"model\.start_tiled: feedforward 32 cannot be tiled into 8"):
        assemble(smaller)


def test_a_run_continues_with_more_pieces(
    pretrained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store made with the checkpoint's own tokenizer and two pieces more."""
    known = (world / "tokenizer" / "vocab.txt").read_text().splitlines()
    pieces = [piece for piece in ("lamps", "riverstone") if piece not in known]
    shutil.copytree(world / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("\n".join([*known, *pieces]) + "\n")
    prepare_store([str(world / "corpus.txt")], str(tmp_path / "tokenizer"), tmp_path / "store", validation=0.2)
    data = {"train": str(tmp_path / "store"), "format": "segment_pair", "length": 32}
    model = {"start": str(pretrained), "vocabulary": 128}
    run = run_of(world, tmp_path / "more", model=model, data=data, budget={"steps": 2})
    started = assemble(run).pretrained
    assert "2 new pieces begin as the mean of those that write them" in capsys.readouterr().err
    old = hub.load(pretrained)
    table, before = (p.model.state_dict()["core.embedding.word.weight"] for p in (started, old))
    assert len(table) == 128
    assert torch.equal(table[: len(known)], before)
    rows = [before[old.tokenizer.encode(piece).tokens].mean(0) for piece in pieces]
    torch.testing.assert_close(table[len(known) : len(known) + 2], torch.stack(rows))
    assert hub.load(pretrain(run)).tokenizer.encode("lamps").tokens.tolist() == [len(known)]


def test_a_causal_model_from_text_to_checkpoint(world: Path, tmp_path: Path) -> None:
    """Its own tokenizer, documents apart, bits per byte; what transformers opens; what it refuses."""
    train_tokenizer([str(world / "corpus.txt")], tmp_path / "tokenizer", "gpt2", 300)
    prepare_store([str(world / "corpus.txt")], str(tmp_path / "tokenizer"), tmp_path / "store", validation=0.2)
    sizes = {name: value for name, value in SMALL.items() if name != "family"}
    changes = {
        "model": {"family": "gpt2", **sizes},
        "data": {"train": str(tmp_path / "store"), "format": "full_sentences", "length": 32},
        "objective": {"causal": {}},
    }
    run = pretrain(run_of(world, tmp_path / "run", **changes))
    result = json.loads((run / "result.json").read_text())
    assert {"clm/loss", "clm/bits_per_byte", "clm/accuracy"} <= result["validation"].keys()
    theirs = AutoModelForCausalLM.from_pretrained(run / "last")
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    model = hub.load(run)
    assert model.tokenizer.special_ids == (0,)
    assert theirs.config.eos_token_id == theirs.config.bos_token_id == 0
    with pytest.raises(InputError, match="a causal model sees nothing after a blank"):
        model.fill("the <|endoftext|> runs")
    batch = assemble(run_of(world, tmp_path / "again", **changes)).stream[0][0]
    tokens, begins = batch.inputs.packed.tokens, batch.inputs.packed.cu_seqlens[:-1].long()
    ends = (tokens == 0).nonzero().flatten()
    assert len(ends)
    assert set(ends.tolist()) <= set(begins.tolist()), "a document begins with the end of the one before"


def test_the_bias_begins_at_the_words_frequencies(world: Path, tmp_path: Path) -> None:
    parts = assemble(run_of(world, tmp_path / "r", model=SMALL | {"vocabulary_bias": "frequencies"}))
    store = Store(world / "store")
    counts = np.ones(store.vocabulary)
    for document in store.split("train"):
        start, stop = store.document(int(document))
        np.add.at(counts, store.token_ids[start:stop], 1)
    bias = parts.pretrained.model.state_dict()["heads.vocabulary.bias"]
    torch.testing.assert_close(bias, torch.from_numpy(np.log(counts / counts.sum())).float())


def test_a_mixture_draws_by_weight(world: Path, tmp_path: Path) -> None:
    train = [{"store": str(world / "store"), "weight": 3.0}, {"store": str(world / "store")}]
    data = {"train": train, "format": "full_sentences", "length": 32}
    parts = assemble(run_of(world, tmp_path / "r", data=data, objective={"masked": {}}))
    assert [s.folder for s in parts.stores] == [world / "store"] * 2
    assert parts.stream[0][0].tokens > 0
    assert parts.validation is not None


def test_what_is_read_is_counted(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assemble(run_of(world, tmp_path / "r"))
    said = capsys.readouterr().err
    documents = len(Store(world / "store").split("train"))
    assert f"store · train: {documents} documents, {documents * 5} sentences" in said


def test_epochs_become_steps(world: Path, tmp_path: Path) -> None:
    parts = assemble(run_of(world, tmp_path / "r", budget={"epochs": 2}))
    assert parts.budget.steps == round(2 * len(parts.stream.source) / 8)
    tokens = {"size": "256 tokens", "micro_tokens": 128}
    with pytest.raises(InputError, match=r"budget\.epochs: with a batch in tokens"):
        assemble(run_of(world, tmp_path / "q", budget={"epochs": 2}, batch=tokens))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"length": 128}}, "data.length: found 128; expected at most 64, the model's positions"),
        ({"data": {"format": "poems"}}, "data.format: found 'poems'; expected one of"),
        ({"data": {"format": "full_sentences"}}, "data.format: found 'full_sentences', and the objective asks about"),
        ({"objective": {"masked": {}, "next_sentence": {}, "sentence_order": {}}}, "objective"),
        ({"batch": {"size": "8 sequences", "micro_tokens": 16}}, "batch.micro_tokens: found 16; expected at least 32"),
        ({"model": {"family": "bart-ish"}}, "'bart-ish'"),
        ({"model": {"family": "bert", "vocabulary": 7}}, "model.vocabulary: found 7"),
        ({"model": {"family": "bert", "widht": 7}}, "model.widht: unknown key"),
        ({"model": {"family": "bert", "visibility": "causal"}}, "model.visibility: found 'causal'; expected full"),
        ({"objective": {"causal": {}}}, "model.visibility: found 'full'; expected causal, as the objective trains it"),
        ({"objective": {"causal": {}, "masked": {}}}, "objective: parts that train models of different visibility"),
        ({"objective": {"unilm": {}}}, "model.segments: found 2; expected 6, which the objective uses"),
        (
            {"model": {"start": "a", "start_tiled": "b"}},
            "expected one thing that says how the weights begin, not start and start_tiled",
        ),
        (
            {"optimizer": {"freeze": 5}},
            "optimizer.freeze: cannot freeze 5 layers of a model that has 1; expected fewer",
        ),
        ({"objective": {"masked": {"select": "pmi_spans"}}}, "objective.masked.select.pmi_spans.file: missing"),
        ({"objective": {"bidirectional_lm": {"rate": 0.1}}}, "bidirectional_lm.rate: unknown key; expected none"),
        ({"objective": {"permuted": {}}}, "asks query rows, and model.queries is false in bert"),
        ({"data": {"train": "no-such-store"}}, "no-such-store: no store here"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    world: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    values = pretraining(world, tmp_path / "r")
    for name, value in changes.items():
        old = values[name] if name == "data" else {}
        values[name] = {**old, **value} if name in ("data", "objective", "model", "batch") else value
    with pytest.raises(InputError) as problem:
        pretrain(runfile.checked(PretrainRun, values))
    assert said in str(problem.value)
    assert not (tmp_path / "r").exists()


def test_another_tokenizer_than_the_stores(world: Path, pretrained: Path, tmp_path: Path) -> None:
    other = small_store(tmp_path / "other")
    with pytest.raises(InputError, match="did not make the store"):
        assemble(run_of(world, tmp_path / "r", tokenizer=str(other.folder / "tokenizer")))
    train = [{"store": str(world / "store")}, {"store": str(other.folder)}]
    with pytest.raises(InputError, match="made by another tokenizer"):
        assemble(run_of(world, tmp_path / "r", data={"train": train, "length": 32}))
    data = {"train": str(other.folder), "length": 32, "format": "segment_pair"}
    with pytest.raises(InputError, match=r"model\.start: .* has another tokenizer"):
        assemble(run_of(world, tmp_path / "r", data=data, model={"start": str(pretrained)}))


def test_nothing_held_out(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = small_store(tmp_path / "all", validation=0.0)
    data = {"train": str(store.folder), "format": "segment_pair", "length": 32}
    run = pretrain(run_of(world, tmp_path / "r", data=data, budget={"steps": 2}))
    assert "no validation" in capsys.readouterr().err
    assert json.loads((run / "result.json").read_text())["validation"] == {}


FRESH: dict[str, tuple[dict[str, Any], str]] = {
    "roberta": ({"masked": {}}, "full_sentences"),
    "xlm-roberta": ({"masked": {}}, "full_sentences"),
    "albert": ({"masked": {"select": "ngrams"}, "sentence_order": {}}, "segment_pair"),
}


@pytest.mark.parametrize("family", FRESH)
def test_a_fresh_member_reads_as_transformers_reads_it(family: str, world: Path, tmp_path: Path) -> None:
    """From the text on, with the tokenizer that was saved: unknown tokens and padding included."""
    objective, form = FRESH[family]
    model = SMALL | {"family": family, "position": {"maximum": 64}, "init_std": 0.3}
    data = {"train": str(world / "store"), "format": form, "length": 32}
    run = pretrain(run_of(world, tmp_path / "r", model=model, objective=objective, data=data, budget={"steps": 2}))
    ours = hub.load(run)
    assert ours.family == family
    texts = ["the river runs", "ö river ¤ stone ö", "a"]
    tokenizer = AutoTokenizer.from_pretrained(run / "last")
    inputs = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    theirs = AutoModelForMaskedLM.from_pretrained(run / "last").eval()
    kept = inputs["attention_mask"].bool()
    examples = [frame(ours.tokenizer, ours.tokenizer.encode(text)) for text in texts]
    side = lay(examples).batch(range(3)).inputs
    assert torch.equal(side.packed.tokens, inputs["input_ids"][kept])
    assert (side.packed.tokens == ours.tokenizer.unk).any()
    with torch.inference_mode():
        expected = theirs.base_model(**inputs).last_hidden_state[kept]
        assert torch.allclose(ours.model.hidden(side).main, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["masked", "permuted"])
def test_query_rows_fill_blanks_where_blanks_were_asked(kind: str, world: Path, tmp_path: Path) -> None:
    run = pretrain(run_of(world, tmp_path / "r", model=small("xlnet"), objective={kind: {}}, budget={"steps": 1}))
    if kind == "masked":
        assert len(hub.load(run).fill("the [MASK] runs", 3)[0]) == 3
    else:
        with pytest.raises(InputError, match="asked at those alone, never at a blank"):
            hub.load(run).fill("the [MASK] runs")


def test_a_run_that_asks_nothing_is_refused(world: Path, tmp_path: Path) -> None:
    parts = assemble(run_of(world, tmp_path / "r"))

    class Silent(Stream):
        def look(self) -> Iterator[list[Batch]]:
            return ([replace(batch, labels=()) for batch in step] for step in super().look())

    fields = {f.name: getattr(parts.stream, f.name) for f in dataclasses.fields(Stream) if f.init}
    with pytest.raises(InputError, match=r"the first 1,0\d\d sequences are asked nothing"):
        _check_asked(Silent(**fields), parts.objective)


def test_what_is_never_asked_is_said(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Documents of one sentence are no pairs: words are asked all the same."""
    lines = "\n\n".join(["the river runs over stone"] * 40 + ["the river runs. it runs over stone."])
    (tmp_path / "lines.txt").write_text(lines + "\n")
    prepare_store([str(tmp_path / "lines.txt")], str(world / "tokenizer"), tmp_path / "store", validation=0.0)
    data = {"train": str(tmp_path / "store"), "length": 32, "format": "segment_pair"}
    objective = {"unilm": {"next_sentence": False, "shares": [0.5, 0.5, 0, 0]}}
    assemble(run_of(world, tmp_path / "r", data=data, objective=objective, model=small("unilm")))
    assert "none of the first" not in capsys.readouterr().err
    objective = {"unilm": {"next_sentence": False, "shares": [0.5, 0.25, 0.249, 0.001]}}
    assemble(run_of(world, tmp_path / "r", data=data, objective=objective, model=small("unilm")))
    assert re.search(r"none of the first 1,0\d\d sequences is asked for seq2seq", capsys.readouterr().err)


def test_orders_are_learned_shown_and_handed_on(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """XLNet, end to end: what inspect shows, what a run leaves, what transformers opens."""
    sizes = {name: value for name, value in SMALL.items() if name != "family"}
    changes = {
        "model": {"family": "xlnet"} | sizes,
        "data": {"train": str(world / "store"), "format": "doc_sentences", "length": 32},
        "objective": {"permuted": {"segments": 2, "memory": 8}},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(pretraining(world, tmp_path / "run", **changes)))
    inspect_run(path, [], 1)
    shown = capsys.readouterr().out
    assert "its place in the order beside it" in shown
    assert re.search(r"\w·[1-9]", shown)
    run = pretrain_file(path)
    result = json.loads((run / "result.json").read_text())
    assert result["validation"]["plm@15/loss"] > 0
    theirs, report = AutoModelForCausalLM.from_pretrained(run / "last", output_loading_info=True)
    assert type(theirs).__name__ == "XLNetLMHeadModel"
    assert report["missing_keys"] == report["unexpected_keys"] == set()
    assert hub.load(run).objective["kind"] == "permuted"
