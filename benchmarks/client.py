"""A trained encoder-decoder in the hands of another program: exported, converted by CTranslate2's own converter, and
what it then writes in float32 beside what didact writes.

    python -m benchmarks.client RUN [--limit N] [--out FOLDER]

RUN: of a fine-tuning with `task: translate`; its test file is translated, greedily and with 4 beams. CTranslate2 reads
the tokens that transformers' tokenizer makes of the exported folder. Of each text that differs: how far the two are
apart by the model's own log-likelihood, and how near the second-best token is to the best where they part. Results:
OUT/client.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from didact import hub
from didact.data.store import write_aside
from didact.errors import InputError
from didact.generation.conditional import Written, score_written
from didact.generation.generate import generate
from didact.generation.ways import way_of
from didact.lab.bench import machine
from didact.model import Pretrained
from didact.runs import runfile
from didact.runs.build import task_of
from didact.runs.schema import FinetuneRun
from didact.tasks import overlap

BEAMS = (1, 4)
Texts = list[tuple[int, ...]]


@dataclass(frozen=True)
class Client:
    """exported: the folder in transformers' form, whose tokenizer reads the sources; converted: what CTranslate2's
    converter made of it.
    """

    exported: Path
    converted: Path

    def write(self, sources: Sequence[str], beams: int, longest: int) -> tuple[Texts, list[str]]:
        """Tokens and texts, without the token that ends them."""
        import ctranslate2
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.exported)
        translator = ctranslate2.Translator(str(self.converted), device="cpu", compute_type="float32")
        read = [tokenizer.convert_ids_to_tokens(tokenizer(source)["input_ids"]) for source in sources]
        found = translator.translate_batch(
            read, beam_size=beams, max_decoding_length=longest, min_decoding_length=0, max_batch_size=64
        )
        written: Texts = [tuple(tokenizer.convert_tokens_to_ids(own.hypotheses[0])) for own in found]
        return written, [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]


def client_of(pretrained: Pretrained, out: Path) -> Client:
    """The road a user takes: export, then the converter on the exported folder, nothing changed in between."""
    exported, converted = out / "exported", out / "converted"
    hub.export(pretrained, exported)
    converters = importlib.import_module("ctranslate2.converters")
    converters.TransformersConverter(str(exported)).convert(str(converted), force=True)
    return Client(exported, converted)


def compared(pretrained: Pretrained, client: Client, sources: Sequence[str], references: Any, longest: int) -> Any:
    """By number of beams: BLEU of both, the share of texts that are the same, and each one that is not."""
    way = way_of(pretrained)
    (end,) = way.ends
    read = [tuple(int(i) for i in tokens) for tokens in way.prompts(pretrained, sources)]
    told: dict[str, Any] = {}
    for beams in BEAMS:
        settings = {"maximum": longest, "batch": 64} | ({"beams": beams} if beams > 1 else {})
        own = [answers[0] for answers in generate(pretrained, sources, **settings)]
        ours = [tuple(i for i in answer.tokens if i != end) for answer in own]
        theirs, texts = client.write(sources, beams, longest)
        bleu = overlap.bleu("13a", False)
        scores = {"didact": bleu([answer.text for answer in own], references), "ctranslate2": bleu(texts, references)}
        apart = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        told[str(beams)] = {
            "bleu": scores,
            "same": 1 - len(apart) / len(ours),
            "texts": len(ours),
            "differences": [
                _difference(pretrained, read[i], ours[i], theirs[i], end, longest) | {"source": sources[i]}
                for i in apart
            ],
        }
    return told


def _difference(
    pretrained: Pretrained, source: tuple[int, ...], ours: tuple[int, ...], theirs: tuple[int, ...], end: int, most: int
) -> dict[str, Any]:
    """likelihood: nats, ours less theirs, by the model; score: what beams are ranked by, divided by the tokens; where:
    the token at which they part; gap: nats between our token there and theirs.
    """
    decoder = pretrained.model.config.decoder
    assert decoder is not None
    tasks = []
    for text in (ours, theirs):
        whole = (*text, end)[:most]
        read = (decoder.start, *whole[:-1])
        tasks.append(Written(source, read, np.arange(len(whole)), np.array(whole, np.int64)))
    mine, other = score_written(pretrained, tasks)
    where = next(i for i, (a, b) in enumerate(zip((*ours, end), (*theirs, end), strict=False)) if a != b)
    return {
        "likelihood": mine.own - other.own,
        "score": mine.own / mine.tokens - other.own / other.tokens,
        "where": where,
        "gap": float(mine.logprobs[where] - other.logprobs[where]),
        "didact": [pretrained.tokenizer.token(i) for i in ours],
        "ctranslate2": [pretrained.tokenizer.token(i) for i in theirs],
    }


def table(told: Any) -> str:
    """Markdown."""
    rows = ["| beams | BLEU, didact | BLEU, CTranslate2 | the same texts | others: gap where they part, nats | score |"]
    rows.append("| --- " * 6 + "|")
    for beams, own in told.items():
        gaps = [abs(each["gap"]) for each in own["differences"]]
        scores = [each["score"] for each in own["differences"]]
        largest = f"{max(gaps):.1e} at most" if gaps else ""
        better = f"{min(scores):+.1e} to {max(scores):+.1e}" if scores else ""
        bleu = " | ".join(f"{100 * own['bleu'][side]:.2f}" for side in ("didact", "ctranslate2"))
        same = f"{100 * own['same']:.2f} % of {own['texts']}"
        rows.append(f"| {beams} | {bleu} | {same} | {largest} | {better} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a fine-tuning with task: translate")
    parser.add_argument("--limit", type=int, help="texts of the test file, from its beginning")
    parser.add_argument("--out", type=Path, default=Path("runs/client"))
    given = parser.parse_args()
    run = runfile.read(given.run / "run.yaml", FinetuneRun)
    task = task_of(run.task, run.length)
    if run.data.test is None:
        raise InputError("no test file", file=given.run / "run.yaml", expected="data.test")
    items = task.items(run.data.test, limit=given.limit)
    pretrained = hub.load(str(given.run))
    sources = [str(item.fields["source"]).strip() for item in items]
    longest = int(task.writing["maximum"])
    told = compared(pretrained, client_of(pretrained, given.out), sources, task.gold(items), longest)
    found = {"run": str(given.run), "machine": machine.describe(), "beams": told}
    write_aside(given.out / "client.json", json.dumps(found, indent=1, ensure_ascii=False))
    print(table(told))


if __name__ == "__main__":
    try:
        main()
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
