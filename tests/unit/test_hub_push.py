"""The model card, and an upload that goes to a folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from fewshot_tools import bart, t5
from hub_tools import CONFIG, same, small
from huggingface_hub import ModelCard

import didact
from didact import hub
from didact.heads import Classes, EmbeddingHead, Span, Vocabulary
from didact.model import Pretrained


def test_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool]] = []

    class Api:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
            assert exist_ok
            calls.append((name, private))
            return f"https://huggingface.co/{name}"

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> None:
            assert commit_message
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    written = small(tmp_path / "m", {"vocabulary": Vocabulary()})
    address = hub.push(tmp_path / "m", "someone/tiny", private=True, license="apache-2.0", notes="Made of letters.")
    assert address == "https://huggingface.co/someone/tiny"
    assert calls == [("someone/tiny", True)]
    arrived = tmp_path / "hub" / "someone" / "tiny"
    assert same(didact.load(arrived), written)
    text = (arrived / "README.md").read_text(encoding="utf-8")
    assert "Made of letters." in text
    card = ModelCard(text)
    assert card.data.to_dict()["license"] == "apache-2.0"
    assert card.data.to_dict()["tags"] == ["didact", "bert"]


def test_a_model_that_looks_back_writes_text(tmp_path: Path) -> None:
    given = small(tmp_path / "m", {"vocabulary": Vocabulary()}, replace(CONFIG, visibility="causal"))
    assert ModelCard(str(hub.card(given, "a/b"))).data.to_dict()["pipeline_tag"] == "text-generation"


def test_a_model_with_a_decoder_writes_another_text() -> None:
    for given in (bart(), t5()):
        assert ModelCard(str(hub.card(given, "a/b"))).data.to_dict()["pipeline_tag"] == "text2text-generation"


@pytest.mark.parametrize(
    ("heads", "pipeline", "opened"),
    [
        ({"vocabulary": Vocabulary()}, "fill-mask", "BertForMaskedLM"),
        ({"classes": Classes(2)}, "text-classification", "BertForSequenceClassification"),
        ({"classes": Classes(2, pooled=False)}, "token-classification", "BertForTokenClassification"),
        ({"span": Span()}, "question-answering", "BertForQuestionAnswering"),
        ({"embedding": EmbeddingHead()}, "sentence-similarity", "BertModel"),
        ({}, "feature-extraction", "BertModel"),
    ],
)
def test_card(tmp_path: Path, heads: Any, pipeline: str, opened: str) -> None:
    given: Pretrained = small(tmp_path / "m", heads)
    text = str(hub.card(given, "a/b"))
    assert ModelCard(text).data.to_dict()["pipeline_tag"] == pipeline
    assert f'{opened}.from_pretrained("a/b")' in text
    assert f'{opened}.from_pretrained(hub.fetch("a"))' in str(hub.card(given, "a", on_hub=False))
    assert 'didact.load("a/b")' in text
