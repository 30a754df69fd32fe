"""How the weights of a pre-training run begin: from a model of another name, size, vocabulary or kind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tools import SMALL, pretraining, small

from didact import hub
from didact.data.store import Store
from didact.errors import InputError
from didact.runs import runfile
from didact.runs.corpus import prepare_store, train_tokenizer
from didact.runs.pretrain import assemble, pretrain
from didact.runs.schema import PretrainRun

SPAN = {"format": "full_sentences", "length": 32}
REPLACED = {"replaced": {"generator_size": 0.5}}


@pytest.fixture(scope="module")
def place(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name, changes) -> a run of that name over the world, checked."""
    folder = tmp_path_factory.mktemp("starts")

    def run(name: str, **changes: Any) -> PretrainRun:
        changes["data"] = {"train": str(world / "store")} | SPAN | changes.get("data", {})
        return runfile.checked(PretrainRun, pretraining(world, folder / name, **changes))

    return run


@pytest.fixture(scope="module")
def starts(place: Any) -> dict[str, str]:
    """Small checkpoints to begin from."""
    wanted: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "bert": (SMALL | {"position": {"maximum": 64}}, {"masked": {}}),
        "distilbert": (small("distilbert"), {"masked": {}}),
        "electra": (small("electra") | {"embedding_width": 8}, REPLACED),
        "gpt2": (small("gpt2"), {"causal": {}}),
        "xlnet": (small("xlnet"), {"permuted": {}}),
    }
    return {
        name: str(pretrain(place(name, model=model, objective=objective, budget={"steps": 1})))
        for name, (model, objective) in wanted.items()
    }


def test_unilm_begins_as_a_tiled_bert(place: Any, starts: dict[str, str]) -> None:
    """The command at the head of recipes/unilm.yaml."""
    model = {"family": "unilm", "dropout": 0.1, "segments": 6, "layers": 2, "start_tiled": starts["bert"]}
    data = {"format": "segment_pair"}
    made = assemble(place("unilm", model=model, objective={"unilm": {}}, data=data)).pretrained
    assert (made.family, made.model.config.segments, made.model.config.layers) == ("unilm", 6, 2)
    table = made.model.core.embedding.segment.weight
    assert torch.equal(table[:2], table[2:4])
    with pytest.raises(InputError, match=r"model\.family: found roberta; expected bert"):
        assemble(place("roberta", model={"family": "roberta", "start": starts["bert"]}, objective={"masked": {}}))


def test_companions_learn_the_new_pieces_too(
    place: Any, starts: dict[str, str], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = (world / "tokenizer" / "vocab.txt").read_text().splitlines()
    shutil.copytree(world / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("\n".join([*known, "lamps", "riverstone"]) + "\n")
    prepare_store([str(world / "corpus.txt")], str(tmp_path / "tokenizer"), tmp_path / "store", validation=0.2)
    data = {"train": str(tmp_path / "store")}
    for rows in ("many", None, 250.5, len(known), -5, True):
        model = {"start": starts["electra"], "vocabulary": rows}
        with pytest.raises(InputError, match=r"model(\.vocabulary)?: .*"):
            assemble(place("rows", model=model, objective=REPLACED, data=data))
    run = assemble(place("more", model={"start": starts["electra"]}, objective=REPLACED, data=data))
    for name in ("main", "generator"):
        table = run.models[name].core.embedding.word.weight
        assert len(table) == len(known) + 2, name
    assert "begins anew" not in capsys.readouterr().err


def test_companions_go_on_as_they_learned(place: Any, starts: dict[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(Path(starts["electra"]) / "last", tmp_path / "electra")
    file = folder / "generator" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_act": "relu"}))
    with pytest.raises(InputError, match=r"generator\.activation: found gelu; expected relu, with which"):
        assemble(place("other", model={"start": str(folder)}, objective=REPLACED))


def test_what_is_not_tiled_is_said(place: Any, starts: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assemble(place("tiled", model={"start_tiled": starts["electra"], "layers": 2}, objective=REPLACED))
    assert "the generator is not tiled; it begins anew" in capsys.readouterr().err
    model = small("electra") | {"embedding_width": 8, "layers": 1, "start_thinned": starts["electra"]}
    assemble(place("thinned", model=model, objective=REPLACED))
    assert "the generator is not thinned; it begins anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": 4}, r"model\.heads: found 4; expected 2, with which"),
        ({"activation": "relu"}, r"model\.activation: found relu; expected gelu"),
        ({"norms": {"eps": 1e-3}}, r"model\.norms\.eps: found 0\.001; expected 1e-12"),
        ({"position": {"scheme": "none"}}, r"model\.position\.scheme: found none; expected learned"),
        ({"widht": 2}, r"model\.widht: unknown key"),
        ({"layers": 2}, r"model\.start_tiled"),  # which shapes tell
        ({"dropout": 0.2, "init_std": 0.01, "windows": [4], "position": {"theta": 160000.0}}, None),
    ],
    ids=str,
)
def test_what_shapes_do_not_tell_is_as_the_start_has_it(
    changes: dict[str, Any], said: str | None, place: Any, starts: dict[str, str]
) -> None:
    run = place("other", model={"start": starts["bert"]} | changes, objective={"masked": {}})
    if said is None:
        assemble(run)
        return
    with pytest.raises(InputError, match=said):
        assemble(run)


@pytest.mark.parametrize(
    ("start", "changes", "objective", "said"),
    [
        ("bert", {"heads": 4}, "masked", "has heads 2; expected 4, as model.heads is"),
        ("bert", {"norms": {"eps": 1e-3}}, "masked", "has norms.eps 1e-12; expected 0.001"),
        ("bert", {"position": {"scheme": "rotary", "maximum": 64}}, "masked", "has position.scheme learned"),
        ("gpt2", {"activation": "relu"}, "causal", "has activation gelu_tanh; expected relu"),
    ],
)
def test_what_shapes_do_not_tell_is_as_the_larger_one_has_it(
    start: str, changes: dict[str, Any], objective: str, said: str, place: Any, starts: dict[str, str]
) -> None:
    model = (SMALL | {"position": {"maximum": 64}} if start == "bert" else small(start)) | {"layers": 1} | changes
    run = place("thinned", model=model | {"start_thinned": starts[start]}, objective={objective: {}})
    with pytest.raises(InputError, match=r"model\.start_thinned: ") as told:
        assemble(run)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("start", "changes", "objective", "said"),
    [
        ("bert", {"activation": "relu"}, "masked", "activation gelu cannot be tiled into relu"),
        ("bert", {"norms": {"eps": 1e-3}}, "masked", "norms.eps 1e-12 cannot be tiled into 0.001; expected"),
        ("bert", {"position": {"scheme": "rotary"}}, "masked", "expected model.position.scheme: learned, for only"),
        ("bert", {"vocabulary": 999}, "masked", "cannot be tiled into 999; expected model.vocabulary: "),
        ("distilbert", {"segments": 2}, "masked", "no core.embedding.segment.weight"),
        ("xlnet", {"width": 32}, "permuted", "a width of 16 with relative positions cannot be tiled into 32"),
    ],
)
def test_only_sizes_are_tiled(
    start: str, changes: dict[str, Any], objective: str, said: str, place: Any, starts: dict[str, str]
) -> None:
    with pytest.raises(InputError, match=r"model\.start_tiled: ") as told:
        assemble(place("refused", model={"start_tiled": starts[start]} | changes, objective={objective: {}}))
    assert said in str(told.value)


def test_thinning_says_what_it_had_nothing_for(
    place: Any, starts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = SMALL | {"position": {"maximum": 64}, "start_thinned": starts["distilbert"]}
    assemble(place("thinned", model=model, objective={"masked": {}}))
    assert "has nothing for core.embedding.segment.weight, pooler.dense.weight" in capsys.readouterr().err
    model |= {"start_thinned": starts["gpt2"]}
    with pytest.raises(InputError, match=r"model\.start_thinned: .* has norms"):
        assemble(place("thinned", model=model, objective={"masked": {}}))


def test_going_on_says_what_of_the_start_nobody_asks(
    place: Any, starts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assemble(place("on", model={"start": starts["gpt2"]}, objective={"causal": {}}))
    assert "nobody asks" not in capsys.readouterr().err
    both = {"objective": {"masked": {}, "next_sentence": {}}, "data": {"format": "segment_pair"}}
    run = place("related", model=SMALL | {"position": {"maximum": 64}}, budget={"steps": 1}, **both)
    pretrain(run)
    capsys.readouterr()
    assemble(place("less", model={"start": str(run.run)}, objective={"masked": {}}))
    assert f"nobody asks heads.pair_relation.dense of {run.run}, which are left out" in capsys.readouterr().err


def test_a_student_sees_as_its_teacher_does(place: Any, starts: dict[str, str]) -> None:
    """DistilGPT2: a causal student of a causal teacher."""
    both = {"causal": {}, "distilled": {}}
    pretrain(place("student", model=small("gpt2"), objective=both, teacher=starts["gpt2"], budget={"steps": 1}))
    for objective in (both, {"distilled": {}}):
        assemble(place("student", model=small("gpt2"), objective=objective, teacher=starts["gpt2"]))
    model, objective = SMALL | {"position": {"maximum": 64}}, {"masked": {}, "distilled": {}}
    run = place("taught", model=model, objective=objective, teacher=starts["gpt2"])
    with pytest.raises(InputError, match="is causal in what it sees, the model full; expected equal visibility"):
        assemble(run)


def test_a_start_is_transferred_to_the_stores_pieces(
    place: Any, starts: dict[str, str], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another kind of tokenizer, too; a companion begins anew."""
    train_tokenizer([str(world / "corpus.txt")], tmp_path / "tokenizer", "unigram", 150)
    prepare_store([str(world / "corpus.txt")], str(tmp_path / "tokenizer"), tmp_path / "store", validation=0.2)
    data = {"train": str(tmp_path / "store")}
    refused = place("strange", model={"start": starts["bert"]}, objective={"masked": {}}, data=data)
    with pytest.raises(InputError, match=r"or model\.start_transferred: "):
        assemble(refused)
    model = {"start_transferred": starts["bert"]}
    with pytest.raises(InputError, match=r"has the store's tokenizer; expected model\.start: "):
        assemble(place("own", model=model, objective={"masked": {}}))
    run = place("moved", model=model, objective={"masked": {}}, data=data, budget={"steps": 2})
    parts = assemble(run)
    assert re.search(r"[1-9]\d* pieces are known, \d+ begin as the mean", capsys.readouterr().err)
    assert parts.pretrained.tokenizer.fingerprint == Store(tmp_path / "store").fingerprint
    before, after = (m.state_dict() for m in (hub.load(starts["bert"]).model, parts.models["main"]))
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert set(moved) == {"core.embedding.word.weight", "heads.vocabulary.bias"}
    assert (pretrain(run) / "result.json").is_file()
    parts = assemble(place("both", model={"start_transferred": starts["electra"]}, objective=REPLACED, data=data))
    assert "the generator is not transferred; it begins anew" in capsys.readouterr().err
    assert parts.models["generator"].config.vocabulary == parts.models["main"].config.vocabulary
