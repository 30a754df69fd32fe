"""Small tokenizers of the three kinds, and one labelled set for every task, for the tests of tasks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from didact.config import ModelConfig
from didact.data.lay import lay_prepared
from didact.model import Model
from didact.tasks import Answer, Choose, Classify, Dataset, Embed, Glue, Tag, Task, Translate
from didact.tasks.answering import Write
from didact.tokenization.tokenizer import Tokenizer

CORPUS = (
    "The cat sat on the mat because the mat was warm. Where did the cat sit? On the mat, of course!",
    "Marie Curie won the Nobel Prize in 1903 and again in 1911. Who won it twice?",
    "It costs $3.50 (about €3) - naïve café owners don't know why; co-operate.",
    "這台機器人在台北市成立於1998年，由李教授領導。誰領導它？",
    "good bad awful great film, boring plot; acting superb",
)
KINDS = ("wordpiece", "bytes", "unigram")


@cache
def tokenizer(kind: str) -> Tokenizer:
    """wordpiece: BERT's, lower-casing; bytes: RoBERTa's byte-level BPE; unigram: SentencePiece's way of spaces."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind == "wordpiece":
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    elif kind == "bytes":
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=290,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        backend = tokenizers.Tokenizer(models.Unigram())
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=250, special_tokens=specials, unk_token="[UNK]", show_progress=False
        )
    backend.train_from_iterator(CORPUS, trainer)
    ids = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    if kind == "bytes":  # one segment, two separators between a pair
        backend.post_processor = processors.RobertaProcessing(ids[1], ids[0], trim_offsets=False)
    else:
        backend.post_processor = processors.BertProcessing(ids[1], ids[0])
    return Tokenizer(backend)


CONTEXT = CORPUS[1] + " " + CORPUS[2] + " " + CORPUS[0]

# name -> (task, labelled records). Every task of the registry is here, and every form it takes.
CASES: dict[str, tuple[Task, list[dict[str, Any]]]] = {
    "classify": (
        Classify(),
        [{"text": "good film", "label": "yes"}, {"text": "bad plot", "label": "no"}, {"text": "great", "label": "yes"}],
    ),
    "mean": (
        Classify(pooling="mean"),
        [{"text": "good film", "label": "yes"}, {"text": "bad plot", "label": "no"}, {"text": "great", "label": "yes"}],
    ),
    "pair": (
        Classify(columns={"text_b": "text_b"}, length=12),
        [
            {"text": "the cat sat on the mat", "text_b": "the mat was warm", "label": 0},
            {"text": "who won it", "text_b": "the nobel prize in 1903 and again in 1911", "label": 2},
            {"text": "good", "text_b": "bad", "label": 1},
        ],
    ),
    "matched": (
        Classify(pooling="matched", pooled=False, columns={"text_b": "text_b"}, length=12),
        [
            {"text": "the cat sat on the mat", "text_b": "the mat was warm", "label": 0},
            {"text": "who won it", "text_b": "the nobel prize in 1903 and again in 1911", "label": 2},
            {"text": "good", "text_b": "bad", "label": 1},
        ],
    ),
    "multiple": (
        Classify("multiple"),
        [{"text": "good film", "label": "a,b"}, {"text": "bad plot", "label": ""}, {"text": "great", "label": ["c"]}],
    ),
    "regression": (
        Classify("regression"),
        [{"text": "good", "label": 4.5}, {"text": "bad", "label": "-1"}, {"text": "great", "label": 2}],
    ),
    "tag": (
        Tag(length=10),
        [
            {"words": "The cat sat on the mat because the mat was warm .", "tags": "D N V P D N C D N V A ."},
            {"words": ["Who", "won", "\u200b", "naïve", "café"], "tags": ["W", "V", "D", "A", "N"]},
        ],
    ),
    "spans": (
        Tag(length=12, stride=4),
        [
            {"words": "Marie Curie won the Nobel Prize in 1903", "tags": "B-P I-P O O B-W I-W O O"},
            {"words": ["in", "台北市", "!"], "tags": ["O", "B-P", "O"]},
        ],
    ),
    "characters": (
        Tag(characters=True, ignore=("_",)),
        [{"words": "由李教授領導", "tags": "HHEE_H"}, {"words": "台北", "tags": "H_"}],
    ),
    "answer": (
        Answer(length=40, stride=8, question=20),
        [
            {"context": CONTEXT, "question": "Who won it?", "answers": [{"text": "Marie Curie", "answer_start": 0}]},
            {"context": CONTEXT, "question": "What costs it?", "answer": "$3.50", "start": CONTEXT.index("$3.50")},
            {"context": CORPUS[3], "question": "誰領導它？", "answers": {"text": ["李教授"], "answer_start": [19]}},
        ],
    ),
    "nullable": (
        Answer(length=48, stride=16),
        [
            {"context": CONTEXT, "question": "Who?", "answers": ["cat"]},
            {"context": CONTEXT, "question": "Why?", "answers": []},
        ],
    ),
    "choose": (
        Choose(length=20),
        [
            {"context": "the cat", "choices": ["sat on the mat", "won the prize"], "label": 0},
            {"context": "who won", "choices": ["the mat", "Marie Curie", "the film"], "label": "B"},
        ],
    ),
    "glue": (
        Glue("rte"),
        [
            {"sentence1": "the cat sat", "sentence2": "a cat", "label": "entailment"},
            {"sentence1": "the mat", "sentence2": "a film", "label": "not_entailment"},
        ],
    ),
    "glue_regression": (
        Glue("stsb"),
        [
            {"sentence1": "the cat sat", "sentence2": "a cat", "score": "4.2"},
            {"sentence1": "the mat", "sentence2": "a film", "score": "0.5"},
        ],
    ),
    "translate causal": (
        Translate(form="causal", length=12, after=" = ", scores=("chrf", "exact", "rougeL")),
        [
            {"source": "the cat sat on the mat", "target": "the mat was warm"},
            {"source": "who won it", "target": ["marie curie", "curie"]},
            {"source": "good", "target": "bad"},
        ],
    ),
    "translate prefix": (
        Translate(form="prefix", length=12, scores=("exact", "chrf++"), lowercase=True),
        [{"source": "good", "target": "awful great film"}, {"source": "where did it sit", "target": "on the mat"}],
    ),
    "embed": (
        Embed(length=12, pooling="mean", projection=False),
        [
            {"text": "the cat sat", "text_b": "a cat sat", "score": "4.5"},
            {"text": "the mat", "text_b": "the nobel prize in 1903 and again in 1911", "score": -1},
            {"text": "good film", "text_b": "great film", "score": 3},
        ],
    ),
}
CONFIGS: dict[str, dict[str, Any]] = {"translate causal": {"visibility": "causal"}}  # what of a model a case needs


def model_of(name: str, task: Task, width: int, seed: int) -> Model:
    """A small model for one of the cases."""
    own = {"width": width, "layers": 2, "heads": 2, "feedforward": 2 * width} | CONFIGS.get(name, {})
    config = ModelConfig(vocabulary=tokenizer("wordpiece").vocabulary, **own)
    return Model(config, task.heads(), torch.Generator().manual_seed(seed))


def greedy(model: Model, task: Task, longest: int = 12) -> Write:
    """The likeliest token after everything so far, written out: one sequence at a time, all of it read again for every
    token. For tasks of one sequence whose next token is asked of the row before it.
    """
    assert isinstance(task, Translate)
    words = tokenizer("wordpiece")

    def write(prompts: Any) -> list[str]:
        texts = []
        for given in prompts:
            found: list[int] = []
            while len(found) < longest and (not found or found[-1] != words.sep):
                known = replace(given, targets={**given.targets, "target": np.array([*found, 0])})
                made = task.prepared(known, np.random.default_rng(0))
                batch = lay_prepared([made]).batch([0])
                found.append(int(model(batch)[0][-1].argmax()))
            texts.append(words.decode(found))
        return texts

    return write


def perfect(task: Task, dataset: Dataset) -> list[Any]:
    """The logits of a model that is right about every row it is asked; the texts of one that writes what is right."""
    if task.written:
        return [item.gold[0] for item in dataset.items]
    answers: list[Any] = []
    for example in dataset:
        asked = task.ask(example)
        head = task.heads()[asked.head]
        if asked.head == "embedding":
            angle = float(np.arccos(example.targets["score"] / 10))
            logits = np.array([[2.0, 0.0], [np.cos(angle), np.sin(angle)]])
        elif asked.head == "span":
            logits = np.zeros((len(asked.rows), 2))
            logits[asked.values[0, 0], 0] = logits[asked.values[0, 1], 1] = 9.0
        elif asked.head == "choice":
            logits = np.where(np.arange(len(asked.rows)) == asked.values[0], 9.0, 0.0)
        elif head.problem == "single":  # type: ignore[attr-defined]
            logits = 9.0 * np.eye(head.classes)[asked.values]  # type: ignore[attr-defined]
        elif head.problem == "multiple":  # type: ignore[attr-defined]
            logits = 18.0 * asked.values - 9.0
        else:
            logits = asked.values[:, None]
        answers.append(logits)
    return answers
