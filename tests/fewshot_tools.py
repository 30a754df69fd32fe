"""What the tests of in-context learning share: small random models that say clearly different things."""

from __future__ import annotations

from functools import cache
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from didact.evaluation.fewshot import Fewshot, Template, cases
from didact.exchange import keys
from didact.families import BART, BERT, GPT2, T5
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

CORPUS = [
    "Review: a fine film. Sentiment: good. Review: a dull film. Sentiment: bad or very bad. " * 5,
    "the cat sat on the mat. is it true? yes, no, maybe. N/A answer: it was great, it was awful.",
]
SMALL: dict[str, Any] = {"width": 24, "layers": 2, "heads": 3, "feedforward": 96, "pooler": False}
TASK = Fewshot(
    "reviews",
    (Template.parse("Review: {text}\nSentiment: {answer}"),),
    {"1": ("good",), "0": ("bad", "very bad")},
    description="Say what the review thinks.",
)
TEXTS = (
    "a fine film",
    "a dull film",
    "the cat sat",
    "it was great",
    "it was awful",
    "the mat is fine",
    "a cat",
    "dull",
)
RECORDS: list[dict[str, Any]] = [
    {"text": text, "label": i % 3 == 0, "kind": "ab"[i % 2]} for i, text in enumerate(TEXTS)
]


@cache
def gpt(maximum: int = 128, seed: int = 0) -> Pretrained:
    """Causal, byte-level pieces."""
    return _made(GPT2, "gpt2", 330, maximum, seed)


@cache
def bert(maximum: int = 128, seed: int = 0) -> Pretrained:
    """Masked, WordPiece."""
    return _made(BERT, "wordpiece", 90, maximum, seed)


@cache
def bart(maximum: int = 128, seed: int = 0) -> Pretrained:
    """An encoder and a decoder, WordPiece."""
    return _made(BART, "wordpiece", 90, maximum, seed, {"decoder": {"layers": 2, "heads": 3, "feedforward": 96}})


@cache
def t5(seed: int = 0) -> Pretrained:
    """An encoder and a decoder, pieces and sentinels as T5's: a text ends with </s> and begins with nothing."""
    more = {"decoder": {"layers": 2, "heads": 3, "feedforward": 96}, "position.buckets": 8, "position.distance": 20}
    made = _model(T5, sentinels(), seed, more | {"init_std": T5.base.init_std})  # T5's config.json cannot say another
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.model.parameters():
            if p.ndim > 1:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    return made


@cache
def bart_of_bytes(maximum: int = 128, seed: int = 0) -> Pretrained:
    """The same with BART's bytes, whose <mask> takes the space before it."""
    more = {"decoder": {"layers": 2, "heads": 3, "feedforward": 96}, "position.maximum": maximum}
    return _model(BART, masking(), seed, more)


def sentinels() -> Tokenizer:
    """T5's way of pieces."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=specials, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([f"<extra_id_{i}>" for i in range(4)])
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return Tokenizer(backend)


def masking() -> Tokenizer:
    """BART's way of pieces."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return Tokenizer(backend)


def _made(family: Any, kind: Any, size: int, maximum: int, seed: int, more: dict[str, Any] | None = None) -> Pretrained:
    tokenizer, _ = train(CORPUS, kind, size, cased=True)
    return _model(family, tokenizer, seed, {"position.maximum": maximum} | (more or {}))


def _model(family: Any, tokenizer: Tokenizer, seed: int, more: dict[str, Any]) -> Pretrained:
    base = family.base_for(tokenizer)
    config = keys.changed(base, SMALL | {"init_std": 0.3} | more)
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(seed)).eval()
    return Pretrained(model, tokenizer, family.name)


def made(task: Fewshot = TASK, records: list[dict[str, Any]] | None = None) -> list[Any]:
    """The task's cases of these records."""
    given = [{**record, "label": int(record["label"])} for record in records or RECORDS]
    return cases(task, enumerate(given, 1), "file")
