"""Writing and converting: what others need is there, what is carried stays, what cannot be said is not pretended."""

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
from didact.config import Norms, Position
from didact.errors import InputError
from didact.heads import Choice, Classes, EmbeddingHead, Span, Vocabulary
from didact.hub.weights import read_json


def config(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json")


def test_what_older_readers_look_for(tmp_path: Path) -> None:
    small(tmp_path / "m", {"classes": Classes(2, names=("no", "yes"))})
    said = config(tmp_path / "m")
    assert said["architectures"] == ["BertForSequenceClassification"]
    assert said["position_embedding_type"] == "absolute"
    assert said["id2label"] == {"0": "no", "1": "yes"}
    assert said["label2id"] == {"no": 0, "yes": 1}
    assert said["problem_type"] == "single_label_classification"
    assert {p.name for p in (tmp_path / "m").iterdir()} >= {"tokenizer.json", "vocab.txt", "model.safetensors"}
    assert not any("position_ids" in name or "decoder" in name for name in load_file(tmp_path / "m/model.safetensors"))


def test_labels_of_another_head_are_not_carried(tmp_path: Path) -> None:
    """transformers counts the outputs of any head by id2label."""
    small(tmp_path / "m", {"classes": Classes(5, names=("a", "b", "c", "d", "e"), dropout=0.3)})
    hub.export(hub.load(tmp_path / "m", {"span": Span()}), tmp_path / "n")
    assert not {"id2label", "label2id", "problem_type", "classifier_dropout"} & config(tmp_path / "n").keys()
    hub.export(didact.load(tmp_path / "m"), tmp_path / "o")
    assert config(tmp_path / "o") == config(tmp_path / "m")
    hub.export(hub.load(tmp_path / "m", {"choice": Choice(dropout=0.2)}), tmp_path / "p")
    assert config(tmp_path / "p")["classifier_dropout"] == 0.2


def test_unknown_keys_are_carried_and_dtypes_put_right(tmp_path: Path) -> None:
    small(tmp_path / "m", {})
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(config(tmp_path / "m") | {"my_note": {"a": 1}, "torch_dtype": "float16"}))
    weights_path = tmp_path / "m" / "model.safetensors"
    save_file({name: t.half() for name, t in load_file(weights_path).items()}, weights_path)
    hub.export(didact.load(tmp_path / "m"), tmp_path / "n")
    said = config(tmp_path / "n")
    assert said["my_note"] == {"a": 1}
    assert said["torch_dtype"] == "float32"


STRANGE = replace(CONFIG, position=Position("rotary", None), norms=Norms("layer", "rms", None, "rms", None, "rms"))


def test_a_model_that_no_bert_is(tmp_path: Path) -> None:
    """It is written in didact's own form rather than as something that it is not."""
    written = small(tmp_path / "m", {"vocabulary": Vocabulary(), "embedding": EmbeddingHead("cls")}, STRANGE)
    assert config(tmp_path / "m")["model_type"] == "didact"
    assert not (tmp_path / "m" / "modules.json").exists()
    found = didact.load(tmp_path / "m")
    assert found.model.config == STRANGE
    assert same(found, written)
    assert found.family == "bert"
    assert didact.load(tmp_path / "m").model.specs == written.model.specs
    with pytest.raises(InputError, match="rotary"):
        hub.convert(tmp_path / "m", tmp_path / "n")
    save_file(load_file(tmp_path / "m/model.safetensors") | {"x": torch.zeros(1)}, tmp_path / "m/model.safetensors")
    with pytest.raises(InputError, match="unknown tensors x"):
        didact.load(tmp_path / "m")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_convert_keeps_bytes_dtypes_and_keys(tmp_path: Path, dtype: torch.dtype) -> None:
    small(tmp_path / "m", {"classes": Classes(3, pooled=False), "vocabulary": Vocabulary()})
    path = tmp_path / "m" / "model.safetensors"
    save_file({name: t.to(dtype) for name, t in load_file(path).items()}, path)
    said = config(tmp_path / "m")
    del said["didact"]  # as transformers writes it
    (tmp_path / "m" / "config.json").write_text(json.dumps(said | {"architectures": ["BertForTokenClassification"]}))
    hub.convert(tmp_path / "m", tmp_path / "own")
    hub.convert(tmp_path / "own", tmp_path / "back")
    before, after = load_file(path), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype == dtype
        assert torch.equal(tensor, after[name])
    says = config(tmp_path / "back")
    assert {n: v for n, v in says.items() if n not in ("didact", "architectures")} == {
        n: v for n, v in said.items() if n != "architectures"
    }
    assert same(didact.load(tmp_path / "own"), didact.load(tmp_path / "back"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_convert_rounds_where_a_type_is_named(tmp_path: Path, dtype: torch.dtype) -> None:
    written = small(tmp_path / "m", {"vocabulary": Vocabulary()})
    hub.convert(tmp_path / "m", tmp_path / "n", dtype)
    hub.convert(tmp_path / "n", tmp_path / "back")
    hub.convert(tmp_path / "back", tmp_path / "again")
    for folder in ("n", "back", "again"):
        assert {t.dtype for t in load_file(tmp_path / folder / "model.safetensors").values()} == {dtype}
        assert config(tmp_path / folder)["dtype"] == str(dtype).removeprefix("torch.")
        found = didact.load(tmp_path / folder).model.state_dict()
        for name, tensor in written.model.state_dict().items():
            assert torch.equal(found[name], tensor.to(dtype).float())


def test_convert_says_what_a_type_has_no_room_for(tmp_path: Path) -> None:
    small(tmp_path / "m", {"vocabulary": Vocabulary()})
    path = tmp_path / "m" / "model.safetensors"
    save_file({name: t + 1e5 * ("LayerNorm" in name) for name, t in load_file(path).items()}, path)
    with pytest.raises(InputError, match=r"norm.*torch\.float16.*expected bfloat16"):
        hub.convert(tmp_path / "m", tmp_path / "n", torch.float16)
    assert not (tmp_path / "n").exists()


def test_convert_does_not_overwrite(tmp_path: Path) -> None:
    small(tmp_path / "m", {})
    with pytest.raises(InputError, match="already there"):
        hub.convert(tmp_path / "m", tmp_path / "m")
    (tmp_path / "empty").mkdir()
    hub.convert(tmp_path / "m", tmp_path / "empty")


def test_convert_says_what_it_would_lose(tmp_path: Path) -> None:
    small(tmp_path / "m", {"span": Span()})
    path = tmp_path / "m" / "model.safetensors"
    save_file(load_file(path) | {"cls.seq_relationship.bias": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"cls\.seq_relationship\.bias"):
        hub.convert(tmp_path / "m", tmp_path / "n")
    assert didact.load(tmp_path / "m").unused == ("cls.seq_relationship.bias",)


def test_a_state_gathered_elsewhere(tmp_path: Path) -> None:
    written = small(tmp_path / "m", {"vocabulary": Vocabulary()})
    moved = {name: tensor + 1 for name, tensor in written.model.state_dict().items()}
    hub.export(written, tmp_path / "n", tensors=moved)
    found = didact.load(tmp_path / "n").model.state_dict()
    assert all(torch.equal(found[name], moved[name]) for name in moved)
