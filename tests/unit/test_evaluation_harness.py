"""The adapter of lm-evaluation-harness, beside a stand-in of what it takes from there: what it reads, as tokens."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fewshot_tools import gpt

from didact.errors import InputError
from didact.generation import generate_tokens
from didact.generation.borders import Pieces
from didact.generation.score import score_pieces

CONTEXTS = ("我爱北京天安门，" * 30, "Заяц бежал. " * 20, "🙂" * 50, "the cat<|endoftext|>the mat", "")


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class, of a module imported for this test alone."""
    names = ("lm_eval", "lm_eval.models", "lm_eval.api", "lm_eval.api.model", "lm_eval.api.registry")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    hook = SimpleNamespace(add_partial=lambda *_: None)
    monkeypatch.setattr(sys.modules["lm_eval.api.model"], "TemplateLM", type("T", (), {"cache_hook": hook}), False)
    monkeypatch.setattr(sys.modules["lm_eval.api.registry"], "register_model", lambda _: lambda cls: cls, False)
    monkeypatch.delitem(sys.modules, "didact.evaluation.harness", False)
    yield importlib.import_module("didact.evaluation.harness").DidactLM
    sys.modules.pop("didact.evaluation.harness")


@pytest.mark.parametrize("context", CONTEXTS, ids=["Chinese", "Russian", "smile", "special", "empty"])
def test_text_is_written_after_the_tokens_that_are_counted(adapter: Any, context: str) -> None:
    """Whatever script, wherever it is cut; names of special tokens are those tokens."""
    model = adapter(gpt(64))
    settings = {"until": ["."], "max_gen_toks": 17}
    (found,) = model.generate_until([SimpleNamespace(args=(context, settings))])
    read = (model.tok_encode(context) or [model.eot_token_id])[-47:]
    ((expected,),) = generate_tokens(gpt(64), [read], maximum=17, stop=".")
    assert found == expected.text
    assert len(read) == 47 or "cat" in context or not context
    if "cat" in context:
        assert model.eot_token_id in read


def test_contexts_are_seen_whole_where_training_showed_them(adapter: Any) -> None:
    """Likelihoods of a model of `prefix_lm` are those that `score` gives."""
    own = replace(gpt(64), objective={"kind": "prefix_lm"})
    context, continuation = (gpt().tokenizer.encode(text).tokens for text in ("the cat sat", " on the mat"))
    ((total, _),) = adapter(own)._loglikelihood_tokens([(None, context.tolist(), continuation.tolist())])
    (expected,) = score_pieces(own, [Pieces(context, continuation)])
    assert total == pytest.approx(expected.total, abs=1e-4)
    (causal,) = score_pieces(gpt(64), [Pieces(context, continuation)])
    assert abs(total - causal.total) > 1e-3


def test_only_sampled_text_is_refused(adapter: Any) -> None:
    """A temperature without sampling is greedy, as in the harness's own backend."""
    model = adapter(gpt(64))
    plain, warm, drawn = ({"until": ["."], "max_gen_toks": 9, **more} for more in (
        {}, {"temperature": 0.7, "do_sample": False}, {"temperature": 0.7, "do_sample": True},
    ))  # fmt: skip
    one, other = ([SimpleNamespace(args=("the cat", settings))] for settings in (plain, warm))
    assert model.generate_until(one) == model.generate_until(other)
    with pytest.raises(InputError, match="the task wants sampled text"):
        model.generate_until([SimpleNamespace(args=("the cat", drawn))])
