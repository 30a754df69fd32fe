"""Fine-tuned encoder-decoders against transformers, from texts to logits: theirs make the decoder's side themselves, of
padded texts and nothing else (`shift_tokens_right`), ours packs what the task poses. Both directions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from parity_tools import assert_equal, randomise
from tokenizers import processors

from didact import hub
from didact.errors import InputError
from didact.exchange import keys
from didact.families import BART, MBART, MT5, T5, Family
from didact.model import Model, Pretrained
from didact.packed import Packed
from didact.tasks import Answer, Classify, Dataset, Tag, Task
from didact.tasks.answering import answer
from didact.tokenization.tokenizer import Tokenizer

NAMES = {"bart": "Bart", "mbart": "MBart", "t5": "T5", "mt5": "MT5"}
SIZES = {"width": 24, "layers": 2, "heads": 3, "feedforward": 40}
TASKS: dict[str, tuple[Task, list[dict[str, Any]]]] = {
    "ForSequenceClassification": (
        Classify(labels=("a", "b", "c")),
        [{"text": "the cat sat on a mat.", "label": "a"}, {"text": "b", "label": "b"}, {"text": "a dog", "label": "c"}],
    ),
    "ForQuestionAnswering": (
        Answer(length=24, stride=8),
        [
            {"context": "the cat sat on a mat, a dog on it.", "question": "who sat?", "answer": "the cat"},
            {"context": "a b", "question": "?", "answer": "b"},
        ],
    ),
    "ForTokenClassification": (
        Tag(tags=("x", "y")),
        [{"words": "the cat sat on a mat .", "tags": "x y x y x y x"}, {"words": "b", "tags": "y"}],
    ),
}
PAIRS = Classify(labels=("a", "b"), columns={"text_b": "text_b"})
FAMILIES = {"bart": BART, "mbart": MBART, "t5": T5, "mt5": MT5}
CASES = [(family, kind) for family in FAMILIES for kind in TASKS if kind[3:8] != "Token" or family.endswith("t5")]


def words(vocabulary: Path, family: Family, folder: Path) -> Tokenizer:
    """T5's texts end and do not begin, mBART's have their language behind the end."""
    Tokenizer.load(vocabulary).save(folder)
    copy = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    end, language = ("[SEP]", copy.token_to_id("[SEP]")), ("[MASK]", copy.token_to_id("[MASK]"))
    framed = {"t5": "$A [SEP]", "mt5": "$A [SEP]", "mbart": "$A [SEP] [MASK]"}.get(family.name)
    if framed is not None:
        pair = framed.replace("$A", "$A $B" if family is MBART else "$A [SEP] $B")
        special = [end, language] if family is MBART else [end]
        copy.post_processor = processors.TemplateProcessing(single=framed, pair=pair, special_tokens=special)
    return Tokenizer(copy)


def made(task: Task, tokenizer: Tokenizer, family: Family, folder: Path) -> Model:
    """A random model with the task's head, and what it is in transformers' form in `folder`."""
    config = keys.changed(family.base_for(tokenizer), SIZES)
    heads = task.heads()
    config = keys.changed(config, {"pooler": any(head.pools(config) for head in heads.values())})
    model = Model(config, heads).eval()
    randomise(model)
    hub.export(Pretrained(model, tokenizer, family.name, task=task), folder)
    return model


def suited(kind: str, family: Family, tokenizer: Tokenizer) -> tuple[Task, Dataset]:
    task, records = TASKS[kind]
    task = task.suited(keys.changed(family.base_for(tokenizer), SIZES), tokenizer, family.encoder)
    task = task.learn(task.items(records))
    return task, task.read(records, tokenizer)


def theirs_of(model: Any, dataset: Dataset) -> list[torch.Tensor]:
    """What their class says of each sequence's rows (of its text, where that is one answer)."""
    packed = Packed.of([example.tokens.tolist() for example in dataset])
    with torch.inference_mode():
        out = model(packed.pad(packed.tokens), attention_mask=packed.pad(torch.ones_like(packed.tokens)))
    if "start_logits" in out:
        both = torch.stack([out.start_logits, out.end_logits], -1)
        return [both[i, example.targets["rows"]] for i, example in enumerate(dataset)]
    if out.logits.ndim == 3:
        return [out.logits[i, example.targets["rows"]] for i, example in enumerate(dataset)]
    return list(out.logits[:, None])


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_texts_are_answered_alike(name: str, kind: str, tmp_path: Path, vocabulary: Path) -> None:
    family = FAMILIES[name]
    tokenizer = words(vocabulary, family, tmp_path)
    task, dataset = suited(kind, family, tokenizer)
    assert len({len(example) for example in dataset}) > 1
    ours = made(task, tokenizer, family, tmp_path)
    cls = getattr(transformers, NAMES[name] + kind)
    theirs, report = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"] == set()
    tagged = task.side == "inputs"
    assert tagged == (kind == "ForTokenClassification")
    # Their tagger has no decoder; ours keeps it.
    assert {key for key in report["unexpected_keys"] if not (tagged and ".decoder." in key)} == set()
    expected = theirs_of(theirs.eval(), dataset)
    for mine, them in zip(answer(ours, task, dataset), expected, strict=True):
        assert_equal(torch.from_numpy(mine), them)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    if tagged:
        with pytest.raises(InputError, match="decoder"):
            hub.load(tmp_path / "theirs")
        return
    again = hub.load(tmp_path / "theirs", task.heads())
    assert again.fresh == again.unused == ()
    for mine, them in zip(answer(again.model, task, dataset), expected, strict=True):
        assert_equal(torch.from_numpy(mine), them)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_decoder_begins_with_and_where_it_is_asked(name: str, tmp_path: Path, vocabulary: Path) -> None:
    """Of mBART the language that stands behind the end of a text, and the end is asked, not the language."""
    family = FAMILIES[name]
    tokenizer = words(vocabulary, family, tmp_path)
    end, language = tokenizer.sep, tokenizer.mask
    config = family.base_for(tokenizer)
    assert config.decoder is not None
    task = PAIRS.suited(config, tokenizer)
    assert (task.start, task.end) == (language if family is MBART else config.decoder.start, end)
    (example,) = task.read([{"text": "a b", "text_b": "c", "label": "a"}], tokenizer)
    made = task.posed(example)
    assert made.outputs is not None
    assert made.outputs.tokens.tolist() == [task.start, *example.tokens.tolist()[:-1]]
    assert made.labels[0].rows.tolist() == [len(example) - (2 if family is MBART else 1)]
    assert made.labels[0].side == "outputs"
    np.testing.assert_array_equal(made.inputs.tokens, example.tokens)
