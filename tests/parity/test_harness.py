"""didact's models in lm-evaluation-harness: the figures of its own `hf` backend on the exported model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from fewshot_tools import bert, gpt
from parity_tools import peer

from didact import hub
from didact.errors import InputError

WORDS = ("a", "fine", "dull", "film", "cat", "mat", "good", "bad", "very", "great", "awful", "true", "yes", "maybe")
METRICS = {
    "multiple_choice": ["acc", "acc_norm"],
    "loglikelihood": ["perplexity", "acc"],
    "loglikelihood_rolling": ["word_perplexity", "byte_perplexity", "bits_per_byte"],
    "generate_until": ["exact_match"],
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tasks, their records beside them: choices with examples, last words, whole texts, text to write."""
    folder = tmp_path_factory.mktemp("tasks")
    rng = random.Random(0)
    for kind, metrics in METRICS.items():
        rows = []
        for i in range(12):
            text = " ".join(rng.choices(WORDS, k=90 if i % 6 == 0 else rng.choice((3, 8, 12))))
            choices = [" ".join(rng.choices(WORDS, k=n)) for n in (1, 1, 2, 3)]
            rows.append({"text": text, "choices": choices, "label": rng.randrange(4), "last": rng.choice(WORDS)})
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task: dict[str, Any] = {
            "task": f"own_{kind}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / f"{kind}.jsonl")}},
            "test_split": "test",
            "fewshot_split": "test",
            "output_type": kind,
            "num_fewshot": 2 if kind == "multiple_choice" else 0,
            "metric_list": [{"metric": metric} for metric in metrics],
        }
        match kind:
            case "multiple_choice":
                task |= {
                    "doc_to_text": "Review: {{text}}\nSentiment:",
                    "doc_to_choice": "{{choices}}",
                    "doc_to_target": "{{label}}",
                }
            case "loglikelihood":
                task |= {"doc_to_text": "{{text}}", "doc_to_target": " {{last}}"}
            case "loglikelihood_rolling":
                task |= {"doc_to_text": "", "doc_to_target": "{{text}}"}
            case "generate_until":
                task |= {
                    "doc_to_text": "{{text}}",
                    "doc_to_target": "{{last}}",
                    "generation_kwargs": {"until": ["."], "max_gen_toks": 12},
                }
        (folder / f"{kind}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.mark.filterwarnings("ignore")  # of the peer
def test_the_same_figures(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm_eval = peer("lm_eval")
    peer("accelerate")
    import datasets
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    from didact.evaluation import harness  # noqa: F401

    hub.export(gpt(), tmp_path / "gpt")
    found = {}
    for model, arguments in (("didact", {}), ("hf", {"dtype": "float32"})):
        result = lm_eval.simple_evaluate(
            model=model,
            model_args={"pretrained": str(tmp_path / "gpt"), **arguments},
            tasks=[f"own_{kind}" for kind in METRICS],
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            batch_size=4,
            device="cpu",
            bootstrap_iters=0,
        )
        assert result is not None
        found[model] = result
    for kind in METRICS:
        ours, theirs = (found[model]["results"][f"own_{kind}"] for model in ("didact", "hf"))
        for metric in METRICS[kind]:
            assert ours[f"{metric},none"] == pytest.approx(theirs[f"{metric},none"], rel=1e-4), metric
        ours, theirs = (found[model]["samples"][f"own_{kind}"] for model in ("didact", "hf"))
        assert len(ours) == 12
        for a, b in zip(ours, theirs, strict=True):
            assert a["arguments"] == b["arguments"]
            for own, other in zip(a["filtered_resps"], b["filtered_resps"], strict=True):
                if kind == "generate_until":
                    assert own == other
                    continue
                own, other = ([value] if isinstance(value, float) else value for value in (own, other))
                assert float(own[0]) == pytest.approx(float(other[0]), rel=1e-4, abs=1e-3)
                assert list(own[1:]) == list(other[1:])
    texts = [json.loads(line)["text"] for line in (tasks / "loglikelihood.jsonl").read_text().splitlines()]
    assert max(len(gpt().tokenizer.encode(text)) for text in texts) > 128, "some do not fit"


def test_what_it_refuses() -> None:
    peer("lm_eval")
    from lm_eval.api.instance import Instance

    from didact.evaluation.harness import DidactLM

    with pytest.raises(InputError, match="asks for continuations; expected a causal model"):
        DidactLM(bert())
    request = Instance("generate_until", {}, ("the cat", {"until": ["\n"], "do_sample": True}), 0)
    with pytest.raises(InputError, match="wants sampled text"):
        DidactLM(gpt()).generate_until([request])
    request = Instance("generate_until", {}, ("the cat", {"max_gen_toks": 128}), 0)
    with pytest.raises(InputError, match="128 tokens to be written; expected fewer than 128"):
        DidactLM(gpt()).generate_until([request])
