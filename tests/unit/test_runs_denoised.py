"""Runs of encoder-decoders: what is refused before they begin, what inspect shows of both sides, what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tools import pretraining, small

from didact.errors import InputError
from didact.runs import runfile
from didact.runs.corpus import prepare_store, train_tokenizer
from didact.runs.inspect import inspect_run
from didact.runs.pretrain import assemble, pretrain
from didact.runs.schema import PretrainRun

BART: dict[str, Any] = {"model": small("bart")}
UL2: dict[str, Any] = {"mixed": {}}


@pytest.fixture(scope="module")
def marked(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's corpus, prepared with a tokenizer that has sentinels and UL2's modes."""
    folder, special = tmp_path_factory.mktemp("marked"), ("[R]", "[S]", "[X]")
    corpus = [str(world / "corpus.txt")]
    train_tokenizer(corpus, folder / "tokenizer", "wordpiece", 140, sentinels=8, special=special)
    prepare_store(corpus, str(folder / "tokenizer"), folder / "store", validation=0.2)
    return folder


def run_of(folder: Path, run: Path, **changes: Any) -> PretrainRun:
    values = pretraining(folder, run) | BART | {"data": {"train": str(folder / "store"), "length": 32}}
    return runfile.checked(PretrainRun, values | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": small("bert"), "objective": {"mass": {}}}, r"bert has no decoder; expected one with a decoder"),
        ({"objective": {"masked": {}}}, r"bart has a decoder; expected one without, as the objective asks"),
        (
            {"objective": {"span_corruption": {"select": "tokens"}}},
            r"objective: \d+ spans in a sequence of 32 tokens, and the tokenizer has 8 sentinels.*--sentinels",
        ),
        (
            {"objective": {"denoised": {"corruptions": [{"insert": {"rate": 1}}, {"insert": {"rate": 1}}]}}},
            r"data\.length: 32 tokens become up to 131.*; expected at most 64",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together(changes: dict[str, Any], said: str, marked: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        assemble(run_of(marked, tmp_path / "r", **changes))


def test_too_few_sentinels_for_validation_are_told_before_training(marked: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"objective": {"span_corruption": {"select": {"segments": {"mean": 1}}}}}
    changes["validation"] = {"every": 3, "sequences": 12, "rates": [0.15]}
    assert assemble(run_of(marked, tmp_path / "r", **changes)).stream.max_seqlen == 32
    changes["validation"]["rates"] = [0.15, 0.4]
    with pytest.raises(InputError, match=r"13 spans in a sequence of 32 tokens.*8 sentinels"):
        assemble(run_of(marked, tmp_path / "r", **changes))


def test_a_decoder_begins_as_the_model_says(marked: Path, tmp_path: Path) -> None:
    model = BART["model"] | {"decoder": {"start": 0}}
    for objective in ({"denoised": {}}, {"span_corruption": {}}, {"mass": {}}, UL2):
        parts = assemble(run_of(marked, tmp_path / "r", objective=objective, model=model))
        outputs = parts.stream[0][0].outputs
        assert outputs is not None
        first = outputs.packed.tokens[outputs.packed.cu_seqlens[:-1].long()]
        assert (first == 0).all() or "mass" in objective


@pytest.mark.parametrize("objective", [{"denoised": {"smoothing": 0.1}}, {"mass": {}}, UL2], ids=str)
def test_both_sides_are_shown_learned_and_left(
    objective: dict[str, Any], marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(marked, tmp_path / "run", objective=objective)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run.model_dump(mode="json")), encoding="utf-8")
    inspect_run(path, (), 6)
    shown = " ".join(capsys.readouterr().out.split())
    assert "decoder " in shown
    assert "what each row reads → what it is asked" in shown
    written = {"denoised": "[SEP]→[CLS]", "mass": "positions ", "mixed": "<extra_id_0>"}
    assert written[next(iter(objective))] in shown
    assert next(iter(objective)) != "mixed" or any(f"[{mode}] [CLS]" in shown for mode in "RSX")
    folder = pretrain(run)
    result = json.loads((folder / "result.json").read_text())
    assert result["validation"]["loss"] > 0
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6
