"""Labelled records: the rows of a file as fields by name, for fine-tuning. What they mean is the task's business.

    for record in records("train.tsv"):
        record.row, record.fields["sentence"]

Formats: tsv (GLUE's: no quoting), csv (RFC 4180), jsonl, json (a list of objects, or one under "data"), parquet, conll
(columns, an empty line between sentences), conllu, squad (SQuAD's JSON, v1 and v2: a record a question), or a data set
`hub:…` as `didact.data.sources` names it. Compressed ones too (.gz, .xz, .zst, .bz2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from didact.data import tables
from didact.data.conll import conll, conllu
from didact.data.files import stem
from didact.data.sources import hub
from didact.errors import InputError

RecordFormat = Literal["tsv", "csv", "jsonl", "json", "parquet", "conll", "conllu", "squad"]
SUFFIXES: tuple[tuple[str, RecordFormat], ...] = (
    (".tsv", "tsv"),
    (".csv", "csv"),
    (".jsonl", "jsonl"),
    (".ndjson", "jsonl"),
    (".json", "json"),
    (".parquet", "parquet"),
    (".conll", "conll"),
    (".bio", "conll"),
    (".iob", "conll"),
    (".conllu", "conllu"),
)


@dataclass(frozen=True)
class Record:
    """row: from 1, the line of the file on which the record begins, or in formats without lines its number;
    fields: by the columns' names, or their numbers from 0 where the file names none.
    """

    row: int
    fields: dict[Any, Any]


def records(path: str | Path, format: str | None = None, header: bool | None = None) -> Iterator[Record]:
    """The records of a file, in order, streamed (JSON other than lines is read whole).

    format: None goes by the suffix, and .json with SQuAD's shape is "squad"; header: of tsv and csv, whether the first
    row names the columns (None: it does unless one of its fields is empty, a number, or there twice).
    Raises InputError, with file and row, where the file is not what its format says, and where it has no record.
    """
    if isinstance(path, str) and path.startswith("hub:"):
        found = (Record(row, fields) for row, fields in hub(path).rows())
    else:
        path = Path(path).expanduser()
        if not path.is_file():
            raise InputError("a folder" if path.is_dir() else "no such file", file=path, expected="a file of records")
        rows = _read(path, format or _format_of(path), header)
        found = (Record(row, fields) for row, fields in rows)
    empty = True
    for record in found:
        empty = False
        yield record
    if empty:
        raise InputError("no record", file=path)


def _format_of(path: Path) -> str:
    suffix = stem(path).suffix.lower()
    for known, format in SUFFIXES:
        if suffix == known:
            return format
    raise InputError(
        f"the suffix {suffix!r} says no format",
        file=path,
        expected=f"`format`, one of {', '.join(get_args(RecordFormat))}",
    )


def _read(path: Path, format: str, header: bool | None) -> Iterator[tuple[int, dict[Any, Any]]]:
    match format:
        case "tsv" | "csv":
            return tables.delimited(path, quoted=format == "csv", header=header)
        case "jsonl":
            return ((row, fields) for _, row, fields in tables.json_lines(path))
        case "json":
            return _json(path)
        case "squad":
            return _squad(path, tables.json_file(path))
        case "parquet":
            return tables.parquet(path)
        case "conll":
            return conll(path)
        case "conllu":
            return conllu(path)
    raise InputError(f"format {format!r}", file=path, expected=f"one of {', '.join(get_args(RecordFormat))}")


def _json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    content = tables.json_file(path)
    articles = content.get("data") if isinstance(content, dict) else None
    if isinstance(articles, list) and articles and isinstance(articles[0], dict) and "paragraphs" in articles[0]:
        return _squad(path, content)
    return tables.json_objects(path, content)


def _squad(path: Path, content: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """SQuAD's JSON -> id, title, context, question, and where the file has them answers and is_impossible.

    Articles hold paragraphs, which hold a context and its questions; row: the question's number in the file.
    """
    row = 1

    def inside(holder: Any, key: str, kind: type, where: str) -> Any:
        if not isinstance(holder, dict) or not isinstance(holder.get(key), kind):
            shown = f"no {key!r}" if not isinstance(holder, dict) or key not in holder else f"another {key!r}"
            expected = f"a {'list' if kind is list else 'text'} {key!r} in every {where} (SQuAD)"
            raise InputError(shown, file=path, row=row, expected=expected)
        return holder[key]

    for article in inside(content, "data", list, "file"):
        for paragraph in inside(article, "paragraphs", list, "article"):
            context = inside(paragraph, "context", str, "paragraph")
            for asked in inside(paragraph, "qas", list, "paragraph"):
                question = inside(asked, "question", str, "question")
                fields = {"title": article.get("title", ""), "context": context, "question": question}
                if asked.get("id") is not None:
                    fields["id"] = str(asked["id"])
                if "answers" in asked:
                    fields["answers"] = inside(asked, "answers", list, "question")
                    for answer in fields["answers"]:
                        inside(answer, "text", str, "answer")
                        if type(answer.get("answer_start")) is not int:
                            raise InputError(
                                f"answer_start {answer.get('answer_start')!r}",
                                file=path,
                                row=row,
                                expected="the number of a character (SQuAD)",
                            )
                if "is_impossible" in asked:
                    fields["is_impossible"] = asked["is_impossible"]
                yield row, fields
                row += 1
