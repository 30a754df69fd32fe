"""Sentences in columns, a word a line and an empty line between sentences: CoNLL's shared tasks, and CoNLL-U.

CoNLL (Tjong Kim Sang & De Meulder, 2003): columns between tabs, or else between white space; their meaning differs from
task to task, so they have numbers. Lines that begin with -DOCSTART- mark documents and are no words.
CoNLL-U (Universal Dependencies): ten columns between tabs, by name, and comments "# key = value".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from didact.data.files import lines
from didact.errors import InputError

COLUMNS = ("ids", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""CoNLL-U's columns; "id" is left to the sentence"""
_NOT_A_WORD = re.compile(r"\d+-\d+|\d+\.\d+")
_COMMENT = re.compile(r"#\s*([^=]*?)\s*=\s*(.*)")


def conll(path: Path) -> Iterator[tuple[int, dict[int, list[str]]]]:
    """(row of its first word, column number from 0 -> a text a word) of every sentence.

    Raises InputError where a word has not as many columns as the file's first.
    """
    width: int | None = None
    for row, block in _blocks(path):
        words = [
            (i, line.split("\t") if "\t" in line else line.split())
            for i, line in enumerate(block, row)
            if not line.startswith("-DOCSTART-")
        ]
        for i, columns in words:
            width = len(columns) if width is None else width
            if len(columns) != width:
                raise InputError(f"{len(columns)} columns", file=path, row=i, expected=f"{width} as in the first word")
        if words:
            yield words[0][0], {c: [columns[c] for _, columns in words] for c in range(width or 0)}


def conllu(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row of its first word, fields) of every sentence: the ten columns, a text a word; comments by their key; "id",
    the sentence's (`sent_id`) where it has one.

    Ranges ("3-4", a word written together with the next) and empty nodes ("3.1") are no words and left out.
    Raises InputError where a line has not ten columns or the ids are not 1, 2, 3 …
    """
    for row, block in _blocks(path):
        fields: dict[str, Any] = {}
        words: list[list[str]] = []
        first = row
        for i, line in enumerate(block, row):
            if line.startswith("#"):
                if comment := _COMMENT.fullmatch(line):
                    fields[comment[1]] = comment[2]
                continue
            columns = line.split("\t")
            if len(columns) != len(COLUMNS):
                raise InputError(f"{len(columns)} columns", file=path, row=i, expected="ten between tabs (CoNLL-U)")
            if _NOT_A_WORD.fullmatch(columns[0]):
                continue
            if columns[0] != str(len(words) + 1):
                raise InputError(f"word id {columns[0]!r}", file=path, row=i, expected=str(len(words) + 1))
            first = first if words else i
            words.append(columns)
        if not words:
            continue
        if "sent_id" in fields:
            fields["id"] = fields["sent_id"]
        for c, name in enumerate(COLUMNS):
            fields[name] = [columns[c] for columns in words]
        yield first, fields


def _blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(row of its first line, lines) of every run of lines that are not empty."""
    block: list[str] = []
    row = 0
    for row, (_, line) in enumerate(lines(path), 1):
        if line.strip():
            block.append(line)
        elif block:
            yield row - len(block), block
            block = []
    if block:
        yield row - len(block) + 1, block
