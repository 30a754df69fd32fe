"""ELECTRA against transformers: every layer and every head, theirs padded, ours packed, in both directions; and the
whole loss of replaced-token detection, on their generator and discriminator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from data_tools import example
from parity_tools import (
    VOCABULARY,
    assert_answers,
    assert_equal,
    assert_layers,
    assert_same_weights,
    expected_of,
    logits_of,
    ragged,
    random_peer,
    randomise,
)
from torch import Tensor

from didact import hub
from didact.batch import Batch
from didact.exchange import keys
from didact.families import ELECTRA
from didact.heads import Choice, Classes, Head, Replacement, Span, Vocabulary
from didact.model import Model, Pretrained, beside
from didact.objectives import Replaced
from didact.runs import common
from didact.tokenization.tokenizer import Tokenizer
from didact.training.step import Step

SHAPE = {
    "vocab_size": VOCABULARY,
    "embedding_size": 16,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "narrow embeddings": {},
    "embeddings as wide": {"embedding_size": 24},
    "relu, one segment, wide eps": {"hidden_act": "relu", "type_vocab_size": 1, "layer_norm_eps": 1e-3},
    "untied": {"tie_word_embeddings": False},
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Head]]] = {
    "ElectraModel": ("AutoModel", {}),
    "ElectraForPreTraining": ("AutoModelForPreTraining", {"replaced": Replacement()}),
    "ElectraForMaskedLM": ("AutoModelForMaskedLM", {"vocabulary": Vocabulary()}),
    "ElectraForSequenceClassification": ("AutoModelForSequenceClassification", {"classes": Classes(5)}),
    "ElectraForMultipleChoice": ("AutoModelForMultipleChoice", {"choice": Choice()}),
    "ElectraForTokenClassification": ("AutoModelForTokenClassification", {"classes": Classes(5, pooled=False)}),
    "ElectraForQuestionAnswering": ("AutoModelForQuestionAnswering", {"span": Span()}),
}
EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)
SETTINGS = pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)


def assert_same(ours: Model, theirs: Any) -> None:
    side, inputs = ragged(theirs.config.type_vocab_size)
    assert_layers(ours, theirs, side, inputs)
    assert_answers(logits_of(ours, side), expected_of(theirs, inputs))


@SETTINGS
@EVERY
def test_what_transformers_wrote(architecture: str, settings: dict[str, Any], tmp_path: Path, vocabulary: Path) -> None:
    labels = 5 if "Classification" in architecture else 2
    config = transformers.ElectraConfig(**SHAPE | settings, num_labels=labels)
    theirs = random_peer(config, architecture, tmp_path, vocabulary)
    ours = hub.load(tmp_path)
    assert {name: head.slot for name, head in ours.model.specs.items()} == {
        name: head.slot for name, head in ARCHITECTURES[architecture][1].items()
    }
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs)


@SETTINGS
@EVERY
def test_what_we_wrote(architecture: str, settings: dict[str, Any], tmp_path: Path, vocabulary: Path) -> None:
    auto, heads = ARCHITECTURES[architecture]
    config = keys.changed(keys.read(SHAPE | settings, ELECTRA.keys, ELECTRA.base), {"dropout": 0.1})
    config = keys.changed(config, {"pooler": any(head.pooled for head in heads.values())})
    model = Model(config, heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), "electra"), tmp_path)
    theirs, report = getattr(transformers, auto).from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == architecture
    assert report["unexpected_keys"] == report["missing_keys"] == set()
    assert_same(model, theirs.eval())
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert_same_weights(model, again.model)


def their_loss(folder: Path, batch: Batch, sharing: str) -> tuple[Tensor, Any, Any]:
    """The whole loss as one would write it around transformers' two models, padded: their own losses of labels that
    say -100, tokens drawn by numpy, a mean over each part's questions. The models too, with their gradients.
    """
    discriminator = transformers.ElectraForPreTraining.from_pretrained(folder)
    generator = transformers.ElectraForMaskedLM.from_pretrained(folder / "generator")
    if sharing == "all":
        generator.electra.embeddings = discriminator.electra.embeddings
        generator.tie_weights()
    packed, (mlm, rtd) = batch.inputs.packed, batch.labels
    inputs = {"attention_mask": packed.pad(torch.ones_like(packed.tokens))}
    if packed.segments is not None:
        inputs["token_type_ids"] = packed.pad(packed.segments)
    blanks = torch.full_like(packed.tokens, -100)
    blanks[mlm.rows] = mlm.values
    masked = generator(input_ids=packed.pad(packed.tokens), labels=packed.pad(blanks, -100), **inputs)
    kept = inputs["attention_mask"].bool()
    probability = torch.softmax(masked.logits[kept][mlm.rows].detach().double(), -1).numpy()
    drawn = [
        int(np.searchsorted(np.cumsum(p), u, side="right"))
        for p, u in zip(probability, mlm.noise.tolist(), strict=True)
    ]
    written, read = packed.tokens.clone(), packed.tokens.clone()
    written[mlm.rows] = mlm.values
    read[mlm.rows] = torch.tensor(drawn)
    marks = discriminator(input_ids=packed.pad(read), **inputs).logits[kept]
    asked = torch.ones_like(written, dtype=torch.bool)
    asked[torch.isin(written, torch.tensor([2, 3]))] = False  # [CLS] and [SEP], which an example begins and ends with
    assert asked.sum() == len(rtd.rows)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(marks[asked], (read != written)[asked].float())
    return masked.loss + 50.0 * losses, discriminator, generator


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_the_whole_loss(sharing: Any, tmp_path: Path, vocabulary: Path) -> None:
    """Loss and gradients of a step of both models, packed, is what transformers' models give in a padded batch."""
    objective = Replaced(4, VOCABULARY, (0, 1, 2, 3, 4), rate=0.3, sharing=sharing, generator_size=0.5)
    config = keys.changed(keys.read(SHAPE, ELECTRA.keys, ELECTRA.base), {"dropout": 0.0, "attention_dropout": 0.0})
    models = beside(Model(config, objective.heads), objective)
    for number, model in enumerate(models.values()):
        randomise(model, seed=number)
    tokenizer = Tokenizer.load(vocabulary)
    common.exporter(lambda: Pretrained(models["main"], tokenizer, "electra"))(tmp_path, models)
    examples = [example(n, n, VOCABULARY) for n in (7, 16, 3, 12, 9)]
    batch = objective(examples, np.arange(5, dtype=np.uint64)).batch(range(5))
    step = Step(models, objective)
    loss = step(batch).scaled(batch.counts)
    expected, discriminator, generator = their_loss(tmp_path, batch, sharing)
    assert_equal(loss.detach(), expected.detach(), "loss")
    loss.backward()
    expected.backward()
    for mine, theirs, names in (
        (models["main"].core, discriminator.electra, ("main", "discriminator")),
        (models["generator"].core, generator.electra, ("generator", "generator")),
    ):
        for a, b in (
            (mine.embedding.word.weight, theirs.embeddings.word_embeddings.weight),
            (mine.embedding.norm.weight, theirs.embeddings.LayerNorm.weight),
            (mine.embedding.project.weight, theirs.embeddings_project.weight),
            (mine.blocks[0].feedforward.up.weight, theirs.encoder.layer[0].intermediate.dense.weight),
            (mine.blocks[2].norm_feedforward_out.weight, theirs.encoder.layer[2].output.LayerNorm.weight),
        ):
            assert a.grad is not None
            assert b.grad is not None
            assert_equal(a.grad, b.grad, names)
