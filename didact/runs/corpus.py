"""`didact tokenizer` and `didact prepare`: a vocabulary and a token store from raw files, with what was read said."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from didact.data.readers import Counts, Layout, documents
from didact.data.store import Progress, Store, build_store
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer


def train_tokenizer(
    corpus: Sequence[str],
    out: Path,
    kind: str,
    vocabulary: int,
    *,
    cased: bool = False,
    k: int = 6,
    sample_mb: int = 200,
    layout: Layout = "paragraphs",
    column: str = "text",
) -> Tokenizer:
    """Learn a tokenizer from the first documents of a corpus spread over all of it, save it, print its report."""
    from didact.tokenization.train import train

    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise InputError("already there", file=out, expected="a new or empty folder")
    counts = Counts()
    texts = (document.text for document in documents(list(corpus), layout=layout, column=column, counts=counts))
    tokenizer, report = train(texts, kind, vocabulary, cased=cased, k=k, sample_bytes=sample_mb * 1_000_000)
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

    counts = Counts()
    pieces = Tokenizer.load(fetch(tokenizer))
    with _Bar("documents") as bar:
        store = build_store(
            documents(list(corpus), layout=layout, column=column, counts=counts),
            pieces,
            out,
            processes=processes or None,
            validation=validation,
            segmenter=segmenter,
            progress=bar.show,
        )
    say(str(counts))
    held = len(store.split("validation"))
    say(f"{out}: {store.tokens:,} tokens of {store.documents:,} documents, {held:,} of them for validation")
    return store


def say(text: str) -> None:
    """A line for the person who waits; standard output is for results."""
    print(text, file=sys.stderr)


class _Bar:
    """A line that counts, on a terminal; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self.what = what
        self.bar = Bar(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True),
            transient=True, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self.task = self.bar.add_task(what, total=None)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.bar.stop()

    def show(self, now: Progress) -> None:
        """How far the store is."""
        rate = now.tokens / max(now.seconds, 1e-9)
        self.bar.update(
            self.task, description=f"{now.documents:,} {self.what} · {now.tokens:,} tokens · {rate:,.0f} tokens/s"
        )
