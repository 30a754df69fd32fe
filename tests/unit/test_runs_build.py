"""From a run file's words to objectives, tasks and batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from data_tools import collocations_file, selections, small_tokenizer

from didact.config import ModelConfig, Position
from didact.data.stream import BySequences, ByTokens
from didact.errors import InputError
from didact.objectives import (
    CORRUPTIONS,
    OBJECTIVES,
    SELECTS,
    Combined,
    Denoised,
    Fragment,
    Mask,
    Masked,
    Mixed,
    NextSentence,
    PMISpans,
    SpanCorruption,
    from_json,
    to_json,
    ul2,
)
from didact.runs.build import batch_of, changed, objective_of, task_of
from didact.runs.schema import BatchPart
from didact.tasks import TASKS
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def marked() -> Tokenizer:
    """With sentinels and UL2's modes."""
    return train(["the river runs past the old mill"] * 9, "word", 60, sentinels=40, special=("[R]", "[S]", "[X]"))[0]


def test_every_objective_is_built_by_its_kind(marked: Tokenizer) -> None:
    for cls in OBJECTIVES:
        if cls is not Combined:
            objective = objective_of({cls.kind: {}}, marked)
            assert type(objective) is cls
            assert from_json(to_json(objective)) == objective


def test_every_corruption_by_its_kind(marked: Tokenizer) -> None:
    for cls in CORRUPTIONS:
        fields = {f.name: getattr(cls(), f.name) for f in dataclasses.fields(cls) if f.name != "select"}
        objective = objective_of({"denoised": {"corruptions": [cls.kind, {cls.kind: fields}]}}, marked)
        assert isinstance(objective, Denoised)
        assert objective.corruptions == (cls(), cls())
        assert objective.sentinels == marked.sentinels
    inner = objective_of({"denoised": {"corruptions": [{"mask": {"select": {"fragment": {"edges": 0.0}}}}]}}, marked)
    assert isinstance(inner, Denoised)
    assert inner.corruptions == (Mask(select=Fragment(0.0)),)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_every_number_is_finite(number: float, marked: Tokenizer) -> None:
    def refused(make: Callable[[str, dict[str, Any]], object], cls: type[Any], said: str) -> None:
        for name, hint in get_type_hints(cls).items():
            if hint in (float, float | None):
                with pytest.raises(InputError, match=rf"{said}\.{cls.kind}\.{name}: found {number}; expected a finite"):
                    make(cls.kind, {name: number})

    for objective in OBJECTIVES:
        refused(lambda kind, own: objective_of({kind: own}, marked), objective, "objective")
    for select in SELECTS:
        refused(lambda kind, own: objective_of({"masked": {"select": {kind: own}}}, marked), select, "select")
    for corruption in CORRUPTIONS:
        refused(lambda kind, own: objective_of({"denoised": {"corruptions": [{kind: own}]}}, marked), corruption, "0")
    for task in TASKS:
        refused(lambda kind, own: task_of({kind: own}, 64), task, "task")


def test_ul2_and_mixtures_of_ones_own(marked: Tokenizer) -> None:
    modes = {name: marked.id_of(f"[{name}]") for name in "RSX"}
    assert marked.sep is not None
    plain = objective_of({"mixed": {}}, marked)
    assert plain == ul2(marked.sentinels, marked.sep, marked.sep, modes)
    untold = objective_of({"mixed": {"modes": {}}}, marked)
    assert isinstance(untold, Mixed)
    assert untold.modes is None
    part = {"span_corruption": {"rate": 0.5, "select": {"segments": {"mean": 8}}}, "mode": "[X]", "share": 2}
    own = objective_of({"mixed": {"parts": [part, {"denoised": {"corruptions": []}}]}}, marked)
    assert isinstance(own, Mixed)
    assert own.shares == (2.0, 1.0)
    assert own.modes == (modes["X"], None)
    assert [type(p) for p in own.parts] == [SpanCorruption, Denoised]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"denoised": {"corruptions": "mask"}}, r"corruptions: found 'mask'; expected a list of mask, replace"),
        ({"denoised": {"corruptions": ["masks"]}}, r"corruptions\.0: found 'masks'; expected one of mask, replace"),
        ({"denoised": {"corruptions": [{"infill": {"lambda": 3}}]}}, r"corruptions\.0\.infill\.lambda: unknown key"),
        ({"denoised": {"corruptions": [{"infill": {"rate": 3}}]}}, r"corruptions\.0\.infill: rate 3"),
        ({"mixed": {"modes": {"Q": "[R]"}}}, r"mixed\.Q: unknown key"),
        ({"mixed": {"modes": {"R": "[Q]"}}}, r"no special token '\[Q\]'.*--special '\[Q\]'"),
        ({"mixed": {"modes": {"R": "the"}}}, r"no special token 'the'"),
        ({"mixed": {"parts": [{"mass": {}, "denoised": {}}]}}, r"parts\.0: found mass, denoised"),
        ({"mixed": {"parts": [{"causal": {}}]}}, r"mixed: parts: .* that ask a decoder"),
        ({"mixed": {"parts": [{"mass": {}, "share": 0}]}}, r"parts\.0\.share: found 0"),
        ({"denoised": {}, "masked": {}}, r"denoised cannot stand beside"),
    ],
    ids=str,
)
def test_wrong_corruptions_and_mixtures(spec: dict[str, Any], said: str, marked: Tokenizer) -> None:
    with pytest.raises(InputError, match=said):
        objective_of(spec, marked)


def test_a_tokenizer_without_what_an_objective_writes() -> None:
    bare = train(["the river runs"] * 9, "gpt2", 280)[0]
    with pytest.raises(InputError, match=r"infill: the tokenizer has no mask token"):
        objective_of({"denoised": {}}, bare)
    assert isinstance(objective_of({"denoised": {"corruptions": ["delete"]}}, bare), Denoised)
    with pytest.raises(InputError, match=r"objective\.mass: the tokenizer has no mask token"):
        objective_of({"mass": {}}, bare)


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
