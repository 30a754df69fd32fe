"""From a run file's words to objectives, tasks and batches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from data_tools import collocations_file, selections, small_tokenizer

from didact.config import ModelConfig, Position
from didact.data.stream import BySequences, ByTokens
from didact.errors import InputError
from didact.objectives import OBJECTIVES, Combined, Masked, NextSentence, PMISpans
from didact.runs.build import batch_of, changed, objective_of, task_of
from didact.runs.schema import BatchPart
from didact.tasks import TASKS
from didact.tokenization.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_every_objective_is_built_by_its_kind(tokenizer: Tokenizer) -> None:
    for cls in OBJECTIVES:
        if cls is not Combined:
            assert type(objective_of({cls.kind: {}}, tokenizer)) is cls


def test_every_select_by_its_kind(tokenizer: Tokenizer) -> None:
    for select in selections():
        fields = {f.name: getattr(select, f.name) for f in dataclasses.fields(select)}
        if isinstance(select, PMISpans):
            continue  # needs a file that was made for the tokenizer: below
        for spec in (select.kind, {select.kind: fields}):
            objective = objective_of({"masked": {"select": spec}}, tokenizer)
            assert isinstance(objective, Masked)
            assert objective.select == select


def test_collocations_must_be_of_the_stores_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    file = tmp_path / "collocations.tsv"
    spec = {"masked": {"select": {"pmi_spans": {"file": str(file)}}}}
    with pytest.raises(InputError, match="no such file"):
        objective_of(spec, tokenizer)
    file.write_text(collocations_file().read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match="another tokenizer"):
        objective_of(spec, tokenizer)
    with pytest.raises(InputError, match="another tokenizer"):  # as one part of several, too
        objective_of({**spec, "next_sentence": {}}, tokenizer)
    file.write_text(file.read_text(encoding="utf-8").replace('"any"', f'"{tokenizer.fingerprint}"'), encoding="utf-8")
    objective = objective_of(spec, tokenizer)
    assert isinstance(objective, Masked)
    assert objective.select == PMISpans(str(file))
    with pytest.raises(InputError, match=r"objective\.masked\.select\.pmi_spans"):
        objective_of({"masked": {"select": "pmi_spans"}}, tokenizer)


def test_every_task_by_its_kind() -> None:
    for cls in TASKS:
        given = {"name": "sst2"} if cls.kind == "glue" else {}
        task = task_of({cls.kind: given}, 64)
        assert type(task) is cls
        assert task.length == 64


def test_what_the_tokenizer_knows_is_filled_in(tokenizer: Tokenizer) -> None:
    objective = objective_of({"masked": {"rate": 0.3}}, tokenizer)
    assert isinstance(objective, Masked)
    assert (objective.mask_id, objective.vocabulary) == (tokenizer.mask, tokenizer.vocabulary)
    assert set(objective.specials) == set(tokenizer.special_ids)


def test_parts_are_weighted_and_summed(tokenizer: Tokenizer) -> None:
    objective = objective_of({"masked": {}, "next_sentence": {"weight": 0.5}}, tokenizer)
    assert isinstance(objective, Combined)
    assert [type(part) for part in objective.parts] == [Masked, NextSentence]
    assert objective.weights == (1.0, 0.5)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "objective: found none"),
        ({"maskd": {}}, "objective: found 'maskd'; expected one of masked"),
        ({"masked": {"rat": 1}}, "objective.masked.rat: unknown key; expected one of"),
        ({"masked": {"rate": "much"}}, "objective.masked.rate: found 'much'"),
        ({"masked": {"rate": 1.5}}, "objective.masked"),
        ({"masked": {"weight": 0}}, "objective.masked.weight: found 0; expected a number above 0"),
        ({"masked": {"weight": True}}, "objective.masked.weight: found True"),
        ({"masked": {"select": "sylables"}}, "objective.masked.select: found 'sylables'; expected one of tokens"),
        ({"masked": {"select": {"spans": {"q": 1}}}}, "objective.masked.select.spans.q: unknown key"),
        ({"combined": {}}, "objective.combined: found a part"),
    ],
)
def test_wrong_objectives(tokenizer: Tokenizer, parts: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as problem:
        objective_of(parts, tokenizer)
    assert said in str(problem.value)


def test_a_tokenizer_without_a_mask(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n")
    with pytest.raises(InputError, match=r"objective\.masked: the tokenizer has no mask token"):
        objective_of({"masked": {}}, Tokenizer.load(tmp_path))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "task: found none"),
        ({"classify": {}, "tag": {}}, "task: found classify, tag"),
        ({"sort": {}}, "task: found 'sort'"),
        ({"classify": {"colums": {}}}, "task.classify.colums: unknown key"),
        ({"classify": {"problem": "guess"}}, "task.classify"),
    ],
)
def test_wrong_tasks(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as problem:
        task_of(spec, 64)
    assert said in str(problem.value)


def test_batches() -> None:
    assert batch_of(BatchPart.model_validate({"size": "32 sequences"})) == BySequences(32, ())
    assert batch_of(BatchPart.model_validate({"size": "4096 tokens"})) == ByTokens(4096)
    stairs = BatchPart.model_validate({"size": "32 sequences", "warmup": [[100, 8]]})
    assert batch_of(stairs) == BySequences(32, ((100, 8),))
    with pytest.raises(InputError, match=r"batch\.warmup"):
        batch_of(BatchPart.model_validate({"size": "4096 tokens", "warmup": [[100, 8]]}))


@dataclass(frozen=True)
class Even:
    value: int = 2

    def __post_init__(self) -> None:
        if self.value % 2:
            raise ValueError("odd")


def test_changes_of_a_configuration() -> None:
    config = ModelConfig(100, 16, 2, 2, 32)
    made = changed(config, {"layers": 3, "position": {"maximum": 9}}, "model")
    assert made == replace(config, layers=3, position=replace(Position(), maximum=9))
    for wrong, said in (
        ({"layer": 3}, "model.layer: unknown key"),
        ({"layers": "three"}, "model.layers: found 'three'"),
        ({"position": {"max": 9}}, "model.position.max: unknown key"),
    ):
        with pytest.raises(InputError) as problem:
            changed(config, wrong, "model")
        assert said in str(problem.value)
    with pytest.raises(InputError, match="part: odd"):
        changed(Even(), {"value": 3}, "part")
