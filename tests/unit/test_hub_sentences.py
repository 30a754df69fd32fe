"""sentence-transformers' files, old and new form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from didact.errors import InputError
from didact.heads import EmbeddingHead
from didact.hub import sentences


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("maximum", [None, 128])
def test_there_and_back(tmp_path: Path, pooling: Any, normalise: bool, maximum: int | None) -> None:
    head = EmbeddingHead(pooling, normalise, maximum)
    sentences.write(tmp_path, head, 16)
    assert sentences.read(tmp_path) == (tmp_path, head)


def test_a_plain_folder(tmp_path: Path) -> None:
    assert sentences.read(tmp_path) == (tmp_path, None)


def write(folder: Path, kinds: list[str], pooling: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
    paths = {"Transformer": "0_Transformer", "Pooling": "1_Pooling"}
    modules = [
        {"idx": i, "path": paths.get(k, ""), "type": f"sentence_transformers.x.{k}"} for i, k in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path, content in (("1_Pooling/config.json", pooling), ("0_Transformer/sentence_bert_config.json", settings)):
        (folder / path).parent.mkdir(exist_ok=True)
        if content is not None:
            (folder / path).write_text(json.dumps(content))


def test_the_newer_form_and_a_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, ["Transformer", "Pooling"], {"embedding_dimension": 4, "pooling_mode": "cls"})
    assert sentences.read(tmp_path) == (tmp_path / "0_Transformer", EmbeddingHead("cls"))


@pytest.mark.parametrize(
    ("kinds", "pooling", "settings", "found"),
    [
        (["Transformer", "Pooling", "Dense"], {}, None, "modules Transformer, Pooling, Dense"),
        (["Transformer"], {}, None, "modules Transformer"),
        (["Transformer", "Pooling"], {"pooling_mode": "weightedmean"}, None, "pooling weightedmean"),
        (["Transformer", "Pooling"], {"pooling_mode": ["cls", "max"]}, None, "pooling cls, max"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            None,
            "pooling pooling_mode_mean_tokens, pooling_mode_max_tokens",
        ),
        (["Transformer", "Pooling"], {}, {"do_lower_case": True}, "do_lower_case"),
    ],
)
def test_what_would_change_the_vectors_is_refused(
    tmp_path: Path, kinds: list[str], pooling: dict[str, Any], settings: dict[str, Any] | None, found: str
) -> None:
    write(tmp_path, kinds, pooling, settings)
    with pytest.raises(InputError, match=found):
        sentences.read(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"idx": 0}]', "[{}"])
def test_damaged_modules(tmp_path: Path, content: str) -> None:
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(InputError, match=r"modules"):
        sentences.read(tmp_path)
