"""Loading: which weights go where, and each way a folder can be wrong, in one clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_tools import CONFIG, same, small
from safetensors.torch import load_file, save_file

import didact
from didact import hub
from didact.errors import InputError
from didact.heads import Classes, EmbeddingHead, Head, PairRelation, Span, Vocabulary
from didact.tasks import Classify

BOTH = {"vocabulary": Vocabulary(), "pair_relation": PairRelation()}


def test_the_heads_of_the_file(tmp_path: Path) -> None:
    written = small(tmp_path / "m", BOTH)
    found = didact.load(tmp_path / "m")
    assert found.model.specs == BOTH
    assert same(found, written)
    assert found.fresh == found.unused == ()
    assert not found.model.training
    assert found.tokenizer == written.tokenizer


def test_a_head_by_name_by_slot_and_anew(tmp_path: Path) -> None:
    heads = {"first": Classes(3), "second": Classes(3), "tags": Classes(2, pooled=False), "vocabulary": Vocabulary()}
    written = small(tmp_path / "m", heads)
    wanted: dict[str, Head] = {
        "second": Classes(3),  # by name, though not the only one of its slot
        "third": Classes(3),  # two of the file's could be meant: neither is
        "other": Classes(2, pooled=False),  # by slot: the file has one tagger
        "span": Span(),
    }
    found = hub.load(tmp_path / "m", wanted)
    ours, theirs = found.model.state_dict(), written.model.state_dict()
    for mine, its in (("second", "second"), ("other", "tags")):
        assert torch.equal(ours[f"heads.{mine}.dense.weight"], theirs[f"heads.{its}.dense.weight"])
    assert {name.split(".")[1] for name in found.fresh} == {"third", "span"}
    assert {name.split(".")[1] for name in found.unused} == {"first", "vocabulary"}
    assert ours["heads.third.dense.weight"].std() > 0


@pytest.mark.parametrize(
    ("head", "taken"),
    [
        (Classes(3), True),
        (Classes(3, names=("a", "b", "c")), True),
        (Classes(3, names=("a", "b", "other")), False),
        (Classes(3, problem="multiple"), True),
        (Classes(4), False),
        (Classes(3, pooled=False), False),
    ],
    ids=str,
)
def test_what_a_classifier_takes_over(tmp_path: Path, head: Head, taken: bool) -> None:
    small(tmp_path / "m", {"classes": Classes(3, names=("a", "b", "c"))})
    assert (hub.load(tmp_path / "m", {"label": head}).fresh == ()) == taken


def test_a_pooler_is_added_where_a_head_needs_one(tmp_path: Path) -> None:
    small(tmp_path / "m", {"vocabulary": Vocabulary()}, replace(CONFIG, pooler=False))
    assert didact.load(tmp_path / "m").model.pooler is None
    found = hub.load(tmp_path / "m", {"classes": Classes(2)})
    assert set(found.fresh) >= {"pooler.dense.weight", "pooler.dense.bias"}
    assert found.model.pooler is not None


def test_an_output_matrix_of_its_own_begins_as_the_table(tmp_path: Path) -> None:
    small(tmp_path / "m", {"vocabulary": Vocabulary()})
    before, found = (hub.load(tmp_path / "m", changes={"tied": tied}) for tied in (True, False))
    state = found.model.state_dict()
    table, matrix = (state[name] for name in ("core.embedding.word.weight", "heads.vocabulary.decoder.weight"))
    assert torch.equal(matrix, table)
    assert matrix.data_ptr() != table.data_ptr()
    assert found.fresh == ()
    assert [f.token for f in found.fill("a [MASK]")[0]] == [f.token for f in before.fill("a [MASK]")[0]]


def test_changes_and_scratch(tmp_path: Path) -> None:
    written = small(tmp_path / "m", BOTH)
    found = hub.load(tmp_path / "m", changes={"dropout": 0.0})
    assert found.model.config == replace(CONFIG, dropout=0.0)
    assert same(found, written)
    fresh = [hub.load(tmp_path / "m", scratch=True, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert same(fresh[0], fresh[1])
    assert not same(fresh[0], fresh[2])
    assert fresh[0].fresh == tuple(written.model.state_dict())
    assert len(hub.load(tmp_path / "m", {}, changes={"layers": 5}, scratch=True).model.core.blocks) == 5
    for wrong in ({"layers": 1}, {"width": 32}, {"no_such": 1}):
        with pytest.raises(InputError):
            hub.load(tmp_path / "m", changes=wrong)


def test_the_task_and_the_objective_come_back(tmp_path: Path) -> None:
    task = Classify(labels=("no", "yes"), length=32)
    objective = {"kind": "masked", "rate": 0.15}
    written = replace(small(tmp_path / "m", task.heads()), task=task, objective=objective)
    hub.export(written, tmp_path / "n")
    found = didact.load(tmp_path / "n")
    assert found.task == task
    assert found.objective == objective
    assert hub.load(tmp_path / "n", {"span": Span()}).task is None


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    small(tmp_path / "m", {})
    path = tmp_path / "m" / "model.safetensors"
    save_file({name: t.bfloat16() for name, t in load_file(path).items()}, path)
    found = didact.load(tmp_path / "m")
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tensors(folder: Path, drop: str = "", **more: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file({n: t for n, t in load_file(path).items() if n != drop} | more, path)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda m: (m / "config.json").unlink(), "config.json: no such file"),
        (lambda m: (m / "config.json").write_text("{"), "config.json:1: not JSON"),
        (lambda m: edit(m, model_type="oracle"), r"config.json: model_type 'oracle'; expected one of bert"),
        (lambda m: edit(m, position_embedding_type="relative_key"), "position_embedding_type 'relative_key'"),
        (lambda m: edit(m, is_decoder=True), "is_decoder True is not supported"),
        (lambda m: edit(m, hidden_act="mish"), "hidden_act 'mish'; expected one of gelu"),
        (lambda m: edit(m, hidden_size="wide"), "hidden_size 'wide'"),
        (lambda m: edit(m, num_attention_heads=3), "width 16 is not a multiple of heads 3"),
        (lambda m: edit(m, vocab_size=40), r"core\.embedding\.word\.weight of shape"),
        (lambda m: edit(m, num_hidden_layers=3), r"no tensors encoder\.layer\.2"),
        (lambda m: edit(m, num_hidden_layers=1), r"unknown tensors bert\.encoder\.layer\.1"),
        (lambda m: edit(m, didact={"version": 99}), "later version"),
        (lambda m: edit(m, didact=[]), r"didact: found \[\]; expected an object"),
        (lambda m: edit(m, didact={"version": "1"}), r"config.json: didact\.version: found '1'; expected version 1"),
        (
            lambda m: edit(m, didact={"heads": ["x"]}),
            r"config.json: didact\.heads: found \['x'\]; expected heads by name",
        ),
        (lambda m: edit(m, didact={"heads": {"x": 3}}), r"config.json: didact\.heads\.x: found 3; expected an object"),
        (lambda m: edit(m, didact={"companions": 3}), r"config.json: didact\.companions: found 3; expected names of"),
        (lambda m: edit(m, didact={"heads": {"x": {"kind": "oracle"}}}), "head of kind 'oracle'"),
        (lambda m: edit(m, didact={"heads": {"x": {"kind": "classes"}}}), "head 'classes': .*missing"),
        (lambda m: (m / "model.safetensors").unlink(), "no weights here"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\x00" * 7), "model.safetensors: damaged or cut short"),
        (lambda m: tensors(m, strange=torch.zeros(1)), "unknown tensors strange"),
        (lambda m: tensors(m, "bert.embeddings.LayerNorm.bias"), r"no tensors embeddings\.LayerNorm\.bias"),
        (lambda m: tensors(m, "bert.encoder.layer.1.attention.self.key.bias"), r"no tensor .*self\.key\.bias"),
        (lambda m: [p.unlink() for p in m.iterdir() if p.name in ("tokenizer.json", "vocab.txt")], "no tokenizer here"),
    ],
)
def test_damage(tmp_path: Path, damage: Any, found: str) -> None:
    small(tmp_path / "m", BOTH)
    damage(tmp_path / "m")
    with pytest.raises(InputError, match=found) as caught:
        didact.load(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    small(tmp_path / "m", {})
    with pytest.raises(InputError, match="a file"):
        didact.load(tmp_path / "m" / "config.json")


def test_a_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    small(tmp_path / "m", {}, replace(CONFIG, vocabulary=20))
    with pytest.raises(InputError, match="a tokenizer of 34 pieces"):
        didact.load(tmp_path / "m")


def test_a_run_folder(tmp_path: Path) -> None:
    written = small(tmp_path / "run" / "checkpoints" / "step-3", {"embedding": EmbeddingHead()})
    (tmp_path / "run" / "last").symlink_to("checkpoints/step-3")
    assert same(didact.load(str(tmp_path / "run")), written)
