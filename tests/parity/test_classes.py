"""A classifier as transformers opens it: the exported folder answers as the task does, or is not said to be one.

Every family whose class reads one text, every pooling, and tokenizers that put a special token first, last or nowhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import assert_equal, randomise
from tokenizers import Tokenizer as Pieces
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from didact import hub, tasks
from didact.families import FAMILIES, Family
from didact.runs import runfile
from didact.runs.begin import Begin
from didact.runs.build import task_of
from didact.runs.schema import FinetuneRun
from didact.tasks.answering import answer

CLASSIFYING = [
    family
    for family in FAMILIES
    if family.base.decoder is None and any(a.slots == ("classes.pooled",) for a in family.architectures)
]
FRAMES = {"first": "[CLS] $A [SEP]", "last": "$A [SEP] [CLS]", "bare": "$A"}
TEXTS = ("abc", "a bad cab", "deed, a deed!", "z")
CASES = [(frame, pooling) for frame in FRAMES for pooling in ("cls", "last", "mean")]


@pytest.fixture(scope="module")
def tokenizers(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, frame in FRAMES.items():
        pieces = {piece: i for i, piece in enumerate((vocabulary / "vocab.txt").read_text().split())}
        made = Pieces(WordPiece(pieces, unk_token="[UNK]"))
        made.pre_tokenizer = BertPreTokenizer()
        special = [(token, pieces[token]) for token in ("[CLS]", "[SEP]")]
        if name != "bare":
            made.post_processor = TemplateProcessing(single=frame, pair=None, special_tokens=special)
        folders[name] = tmp_path_factory.mktemp(name)
        made.save(str(folders[name] / "tokenizer.json"))
        (folders[name] / "tokenizer_config.json").write_text('{"pad_token": "[PAD]", "unk_token": "[UNK]"}')
    return folders


def sizes(family: Family) -> dict[str, Any]:
    base = family.base
    own: dict[str, Any] = {"family": family.name, "layers": 2, "width": 16, "heads": 2, "feedforward": 64}
    own |= {"position": {"maximum": 64}} if base.position.maximum is not None else {}
    return own | ({"embedding_width": 8} if base.embedding_width is not None else {})


@pytest.mark.parametrize(("frame", "pooling"), CASES, ids=["-".join(case) for case in CASES])
@pytest.mark.parametrize("family", CLASSIFYING, ids=lambda f: f.name)
def test_an_exported_classifier_answers_as_the_task(
    family: Family, frame: str, pooling: str, tokenizers: dict[str, Path], tmp_path: Path
) -> None:
    values = {
        "run": str(tmp_path / "run"), "tokenizer": str(tokenizers[frame]), "model": sizes(family),
        "task": {"classify": {"pooling": pooling, "labels": ["a", "b", "c"]}}, "data": {"train": "none.tsv"},
    }  # fmt: skip
    run = runfile.checked(FinetuneRun, values)
    task = task_of(run.task, run.length)
    start = Begin.of(run).load(task.heads(), torch.Generator().manual_seed(0))
    randomise(start.model)
    dataset = task.dataset(task.items([{"text": text} for text in TEXTS], labelled=False), start.tokenizer)
    ours = answer(start.model.eval(), task, dataset)

    hub.export(start, tmp_path / "model")
    name = family.architecture(start.model.specs).name
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    if not name.endswith("ForSequenceClassification"):
        assert report["missing_keys"]  # which transformers says, and draws
        again = hub.load(tmp_path / "model")
        answers = answer(again.model, task, dataset)
    else:
        assert not report["missing_keys"]
        with torch.inference_mode():
            answers = [
                theirs.eval()(input_ids=torch.from_numpy(example.tokens)[None]).logits.numpy()
                for example in dataset.examples
            ]
    for a, b in zip(ours, answers, strict=True):
        assert_equal(torch.from_numpy(a), torch.from_numpy(b), name)


def test_what_their_classes_ask_is_offered() -> None:
    """So that the test above is not passed by saying nothing of anything."""
    head = tasks.Classify(labels=("a", "b")).heads()["classes"]
    for family in CLASSIFYING:
        row = family.asked.row
        assert family.architecture({"classes": family.placed(head, row)}).name.endswith("ForSequenceClassification")
