from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from didact.data import files
from didact.data.files import chunks, compression, lines, read_text, row_of, stem
from didact.errors import InputError

COMPRESS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (".gz", gzip.compress),
    (".xz", lzma.compress),
    (".zst", zstandard.ZstdCompressor().compress),
    (".bz2", bz2.compress),
)
TEXT = "".join(f"line {i} é中\n" for i in range(2000))


def test_every_compression_is_tested() -> None:
    assert [suffix for suffix, _ in COMPRESS] == [suffix for suffix, _ in files.COMPRESSIONS]


@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), *COMPRESS])
def test_lines_of_a_file(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(compress(TEXT.encode()))
    found = list(lines(path))
    assert [line for _, line in found] == TEXT.split("\n")[:-1]
    data = TEXT.encode()
    assert all(data[at:].startswith(line.encode()) for at, line in found[:50])
    assert b"".join(chunks(path)) == data
    assert read_text(path) == TEXT.rstrip("\n")


@pytest.mark.parametrize(("suffix", "compress"), COMPRESS)
def test_members_end_to_end_and_zeros_after_them(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(compress(b"one\n") + compress(b"") + compress(b"two\n"))
    assert b"".join(chunks(path)) == b"one\ntwo\n"
    path.write_bytes(compress(b"one\n") + bytes(512))
    assert b"".join(chunks(path)) == b"one\n"


@pytest.mark.parametrize(("suffix", "compress"), COMPRESS)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, -1])
def test_compressed_data_cut_short(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], kept: float
) -> None:
    data = compress(TEXT.encode())
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(data[: int(len(data) * kept) if kept >= 0 else -1])
    with pytest.raises(InputError, match=r"ends too early|damaged") as caught:
        list(lines(path))
    assert caught.value.file == path


@pytest.mark.parametrize(("suffix", "compress"), COMPRESS)
def test_damaged_compressed_data(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(b"this is not compressed at all, only named so\n")
    with pytest.raises(InputError, match="damaged"):
        list(lines(path))
    path.write_bytes(compress(b"one\n") + b"rubbish")
    with pytest.raises(InputError, match=r"damaged|too early"):
        list(lines(path))


def test_marks_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\ntwo\u2028still\x0ctwo\nthree".encode())
    found = list(lines(path))
    assert [line for _, line in found] == ["one", "", "two\u2028still\x0ctwo", "three"]
    assert [at for at, _ in found] == [0, 8, 10, found[-1][0]]
    path.write_bytes(b"")
    assert list(lines(path)) == []
    path.write_bytes(b"\n\n")
    assert [line for _, line in lines(path)] == ["", ""]


def test_lines_that_begin_in_a_range(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"aa\nbbb\ncc\n")
    assert list(lines(path, 3)) == [(3, "bbb"), (7, "cc")]
    assert list(lines(path, 0, 4)) == [(0, "aa"), (3, "bbb")]
    assert list(lines(path, 3, 7)) == [(3, "bbb")]


@pytest.mark.parametrize(
    ("data", "row", "says"),
    [
        (b"good\n\nbad \xff\n", 3, "byte 0xff at byte 5 of the line is not UTF-8"),
        ("cut in a character: 中".encode()[:-1], 1, "not UTF-8"),
        ("Latin-1: café\n".encode("latin-1"), 1, "not UTF-8"),
        ("中文\n".encode("gbk"), 1, "not UTF-8"),
        ("text".encode("utf-16"), 1, "looks like UTF-16"),
        (b"a\nb\x00c\n", 2, "NUL"),
        (b"\xed\xa0\x80\n", 1, "not UTF-8"),
    ],
)
def test_bytes_that_are_not_text(tmp_path: Path, data: bytes, row: int, says: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        list(lines(path))
    assert (caught.value.file, caught.value.row) == (path, row)
    assert str(caught.value).startswith(f"{path}:{row}: ")


def test_the_row_is_found_from_the_middle_of_a_file_and_of_a_compressed_one(tmp_path: Path) -> None:
    data = b"a\n" * 1000 + b"\xff\n"
    for name, content in (("a.txt", data), ("a.txt.gz", gzip.compress(data))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            list(lines(path, 0 if name.endswith("gz") else 500))
        assert caught.value.row == 1001
    assert row_of(tmp_path / "a.txt", 0) == 1


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 10)
    monkeypatch.setattr(files, "CHUNK", 1 << 8)
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\n" + b"y" * 3000)
    with pytest.raises(InputError, match="a line of more than") as caught:
        list(lines(path))
    assert caught.value.row == 2


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        list(lines(tmp_path / "none.txt"))


def test_names() -> None:
    assert compression(Path("a.txt.GZ")) == ".gz"
    assert compression(Path("a.txt")) is None
    assert stem(Path("x/a.jsonl.zst")) == Path("x/a.jsonl")
