"""`didact tokenizer` and `didact prepare`: a vocabulary and a token store from raw files, with what was read said."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from didact.data.collocations import Collocations, as_text, collocations
from didact.data.files import make_folder
from didact.data.readers import Counts, Layout, documents
from didact.data.store import Progress, Store, build_store, write_aside
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import Kind, train


def train_tokenizer(
    corpus: Sequence[str],
    out: Path,
    kind: Kind,
    vocabulary: int,
    *,
    cased: bool = False,
    k: int = 6,
    sample_mb: int = 200,
    sentinels: int = 0,
    special: Sequence[str] = (),
    layout: Layout = "paragraphs",
    column: str = "text",
) -> Tokenizer:
    """Learn a tokenizer from the first documents of a corpus spread over all of it, save it, print its report."""
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise InputError("already there", file=out, expected="a new or empty folder")
    _outside(out, corpus)
    make_folder(out)
    counts = Counts()
    texts = (document.text for document in documents(list(corpus), layout=layout, column=column, counts=counts))
    with _Bar() as bar:
        tokenizer, report = train(
            texts, kind, vocabulary, cased=cased, k=k, sample_bytes=sample_mb * 1_000_000, sentinels=sentinels,
            special=special, progress=bar.share,
        )  # fmt: skip
    tokenizer.save(out)
    say(str(counts))
    say(str(report))
    return tokenizer


def prepare_store(
    corpus: Sequence[str],
    tokenizer: str,
    out: Path,
    *,
    validation: float = 0.01,
    processes: int = 0,
    layout: Layout = "paragraphs",
    column: str = "text",
    segmenter: str | None = None,
) -> Store:
    """Build the store of a corpus, or go on where it was interrupted."""
    from didact.hub import fetch

    _outside(out, corpus)
    counts = Counts()
    pieces = Tokenizer.load(fetch(tokenizer))
    with _Bar() as bar:
        store = build_store(
            documents(list(corpus), layout=layout, column=column, counts=counts),
            pieces,
            out,
            processes=processes or None,
            validation=validation,
            segmenter=segmenter,
            progress=bar.store,
        )
    say(str(counts))
    for what, count in store.meta["dropped"].items():
        if count:
            say(f"{out}: {count:,} {what}, left out")
    held = len(store.split("validation"))
    say(f"{out}: {store.tokens:,} tokens of {store.documents:,} documents, {held:,} of them for validation")
    return store


def find_collocations(store: Path, out: Path, *, size: int, longest: int, least: int) -> Collocations:
    """Rank the n-grams of a store's training documents and write the best: what `select: {pmi_spans: …}` reads."""
    if out.exists():
        raise InputError("already there", file=out, expected="a new file")
    opened = Store(store)
    found = collocations(opened, size, longest=longest, least=least)
    if not found.entries:
        raise InputError(
            f"no collocations that occur {least} times", file=store, expected="a larger corpus, or a smaller --least"
        )
    write_aside(out, as_text(found, opened))
    lengths = Counter(len(entry.words) for entry in found.entries)
    told = ", ".join(f"{count:,} of {n} words" for n, count in sorted(lengths.items()))
    say(f"{out}: {told}, in {found.facts['words']:,} words of {found.facts['documents']:,} documents")
    return found


def _outside(out: Path, corpus: Sequence[str]) -> None:
    """What is written must not be read as part of what it is made from. Raises InputError."""
    for name in corpus:
        folder = Path(name).expanduser()
        if folder.is_dir() and out.expanduser().resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"lies in the corpus {name}, of which its files would be a part", file=out, expected="another place"
            )


def say(text: str) -> None:
    """A line for the person who waits; standard output is for results."""
    print(text, file=sys.stderr)


class _Bar:
    """A line that says how far things are, on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self.bar = Bar(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True),
            transient=True, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.bar.stop()

    def share(self, what: str, done: float) -> None:
        """What is being done, and how much of it is."""
        self.bar.update(self.task, description=f"{what} · {done:.0%}" if done else what)

    def store(self, now: Progress) -> None:
        """How far the store is."""
        rate = now.tokens / max(now.seconds, 1e-9)
        self.bar.update(
            self.task, description=f"{now.documents:,} documents · {now.tokens:,} tokens · {rate:,.0f} tokens/s"
        )
