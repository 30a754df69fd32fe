"""`didact tokenizer` and `didact prepare`: from raw files to a vocabulary and a token store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Corpus = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, globs, hub:NAME[:CONFIG][:SPLIT]\\[#COLUMN], or installed-docs. "
        "Text, JSON lines, JSON, CSV and TSV, also .gz, .xz, .zst and .bz2 of these; Parquet.",
        metavar="CORPUS…",
    ),
]
Layout = Annotated[
    Literal["paragraphs", "lines", "sentences", "file"],
    typer.Option(
        help="Of plain text: paragraphs (blank line between documents), lines (a document each), sentences "
        "(one a line, blank line between documents), or file (one document)."
    ),
]
Column = Annotated[str, typer.Option(help="The text's column in JSON lines, CSV, TSV and Parquet.")]


Kind = Annotated[
    Literal["wordpiece", "bpe", "gpt2", "unigram", "word", "char", "kmer"],
    typer.Option(help="The subword model; gpt2: bpe that ends texts as GPT-2 does; word: whole words; kmer: for DNA."),
]


def tokenizer(
    corpus: Corpus,
    out: Annotated[Path, typer.Option(help="Folder to write: tokenizer.json and what transformers reads beside it.")],
    kind: Kind = "wordpiece",
    vocab: Annotated[int, typer.Option(min=16, help="Pieces, special tokens included.")] = 30_000,
    cased: Annotated[bool, typer.Option("--cased/--uncased", help="Keep capitals and accents.")] = False,
    k: Annotated[int, typer.Option(min=1, help="Length of a k-mer (--kind kmer).")] = 6,
    sample: Annotated[int, typer.Option(min=1, help="Megabytes of the corpus to learn from.")] = 200,
    sentinels: Annotated[
        int, typer.Option(min=0, help="Tokens <extra_id_0>, <extra_id_1> … that mark hidden spans (T5 has 100).")
    ] = 0,
    special: Annotated[
        list[str] | None, typer.Option(help="A further special token, as [R]; may be given several times.")
    ] = None,
    layout: Layout = "paragraphs",
    column: Column = "text",
) -> None:
    """Learn a vocabulary from a sample of any corpus and print how well it fits."""
    from didact.runs.corpus import train_tokenizer

    train_tokenizer(
        corpus, out, kind, vocab, cased=cased, k=k, sample_mb=sample, sentinels=sentinels, special=tuple(special or ()),
        layout=layout, column=column,
    )  # fmt: skip


def collocations(
    store: Annotated[Path, typer.Argument(help="A finished store.", metavar="STORE")],
    out: Annotated[Path, typer.Option(help="File to write: one collocation a line, best first.")],
    size: Annotated[int, typer.Option(min=1, help="Entries, of all lengths.")] = 800_000,
    longest: Annotated[int, typer.Option(min=2, max=5, help="Words of the longest.")] = 5,
    least: Annotated[int, typer.Option(min=1, help="Occurrences below which an n-gram is passed over.")] = 11,
) -> None:
    """Rank the n-grams of a store by how far they are from chance, for `select: {pmi_spans: {file: …}}`."""
    from didact.runs.corpus import find_collocations

    find_collocations(store, out, size=size, longest=longest, least=least)


def prepare(
    corpus: Corpus,
    tokenizer: Annotated[str, typer.Option(help="Folder of a tokenizer, or of any model.")],
    out: Annotated[Path, typer.Option(help="Store to write.")],
    validation: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of documents held out, by their hash.")
    ] = 0.01,
    processes: Annotated[int, typer.Option(min=0, help="0 = one a core. The store's bytes do not depend on it.")] = 0,
    segmenter: Annotated[
        str | None, typer.Option(help="Words of scripts without spaces: jieba (pip install 'didact[zh]').")
    ] = None,
    layout: Layout = "paragraphs",
    column: Column = "text",
) -> None:
    """Turn raw sequences into a memory-mapped token store. Interrupted, it goes on where it was."""
    from didact.runs.corpus import prepare_store

    prepare_store(
        corpus, tokenizer, out, validation=validation, processes=processes, layout=layout, column=column,
        segmenter=segmenter,
    )  # fmt: skip
