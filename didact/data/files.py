"""Files as streams of lines: compression by suffix, strict UTF-8, and the place of whatever is wrong.

Memory is bounded by the longest line. Lines end at "\\n" or "\\r\\n" and nowhere else (not at U+2028 or a form feed, as
`str.splitlines` would have it); a byte order mark at the start of a file is dropped.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from didact.errors import InputError

CHUNK = 1 << 20
"""bytes read at a time"""
LONGEST_LINE = 1 << 28
"""bytes; a longer line is taken for a file that is not text"""


def _zstandard() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()


def _bzip2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


COMPRESSIONS: tuple[tuple[str, Callable[[], Any]], ...] = (
    (".gz", lambda: zlib.decompressobj(31)),
    (".xz", lzma.LZMADecompressor),
    (".zst", _zstandard),
    (".bz2", _bzip2),
)
"""suffix -> a decompressor of one member, with `decompress`, `eof` and `unused_data`"""


def compression(path: Path) -> str | None:
    """The suffix that says how a file is compressed, or None."""
    return next((suffix for suffix, _ in COMPRESSIONS if path.name.lower().endswith(suffix)), None)


def stem(path: Path) -> Path:
    """The path without the suffix of its compression: "a.txt.gz" -> "a.txt"."""
    suffix = compression(path)
    return path if suffix is None else path.with_name(path.name[: -len(suffix)])


def chunks(path: Path, start: int = 0) -> Iterator[bytes]:
    """The file's bytes from byte `start` on, decompressed.

    Raises InputError where the file cannot be opened, and where compressed data is damaged or ends too early.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            raw = iter(lambda: file.read(CHUNK), b"")
            suffix = compression(path)
            yield from raw if suffix is None else _decompressed(path, raw, dict(COMPRESSIONS)[suffix])
    except OSError as problem:
        raise InputError(problem.strerror or str(problem), file=path) from problem


def _decompressed(path: Path, raw: Iterator[bytes], begin: Callable[[], Any]) -> Iterator[bytes]:
    """A file may hold several members end to end (`cat a.gz b.gz`), and zeros after them (tapes, xz's padding)."""
    member, fed, ended = begin(), False, False
    for data in raw:
        while data:
            if not fed and ended and not (data := data.lstrip(b"\0")):
                break
            try:
                out = member.decompress(data)
            except Exception as problem:  # each library has its own kind of exception
                raise InputError(f"damaged compressed data ({problem})", file=path) from problem
            fed, data = True, b""
            if out:
                yield out
            if member.eof:
                data = member.unused_data
                member, fed, ended = begin(), False, True
    if fed or not ended:
        raise InputError("the compressed data ends too early", file=path, expected="the whole file")


def read_text(path: Path) -> str:
    """A whole file as text, line ends as "\\n". Raises InputError."""
    return "\n".join(line for _, line in lines(path))


def lines(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, str]]:
    """(byte where it begins in the decompressed file, text without its end) of every line that begins in [start, stop).

    start must be the first byte of a line, and 0 in a compressed file. An end of line at the very end of the file
    begins no further line. Raises InputError, with the row, where the bytes are not UTF-8 or a NUL is among them.
    """
    at, rest = start, b""
    for chunk in chunks(path, start):
        *whole, rest = (rest + chunk).split(b"\n")
        for raw in whole:
            if stop is not None and at >= stop:
                return
            yield at, _decoded(path, at, raw)
            at += len(raw) + 1
        if len(rest) > LONGEST_LINE:
            raise InputError(f"a line of more than {LONGEST_LINE >> 20} MB", file=path, row=row_of(path, at))
    if rest and (stop is None or at < stop):
        yield at, _decoded(path, at, rest)


def _decoded(path: Path, at: int, raw: bytes) -> str:
    try:
        return decoded(raw, path, first=at == 0)
    except InputError as problem:
        raise InputError(problem.found, file=path, row=row_of(path, at), expected=problem.expected) from problem


def make_folder(folder: Path) -> Path:
    """The folder, made with those above it where they are not there. InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError("a file", file=folder, expected="a folder to write in") from None
    except OSError as problem:
        raise InputError(f"no folder: {problem.strerror}", file=folder, expected="one that can be written in") from None
    return folder


def decoded(raw: bytes, file: str | Path, row: int | None = None, first: bool = False) -> str:
    """A line without its end, as text. first: whether it is a file's first, which a byte-order mark may begin.

    Raises InputError where the bytes are not UTF-8 or a NUL is among them.
    """
    if first and raw.startswith(b"\xef\xbb\xbf"):
        raw = raw[3:]
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        wrong = f"byte 0x{raw[problem.start]:02x} at byte {problem.start + 1} of the line is not UTF-8"
        hint = "UTF-8 (this looks like UTF-16)" if first and raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "UTF-8"
        raise InputError(wrong, file=file, row=row, expected=hint) from problem
    if "\0" in text:
        raise InputError("a NUL character", file=file, row=row, expected="text in UTF-8")
    return text


def row_of(path: Path, at: int) -> int:
    """The number, from 1, of the line that begins at a byte of the (decompressed) file. Reads the file again."""
    row, left = 1, at
    for chunk in chunks(path):
        row += chunk[:left].count(b"\n")
        left -= min(left, len(chunk))
        if not left:
            break
    return row
