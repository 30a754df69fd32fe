"""A tokenizer's files as Hugging Face names them: tokenizer.json, tokenizer_config.json, vocab.txt …"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from didact.errors import InputError
from didact.tokenization.specials import BERT_SPECIALS


def read_folder(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """A folder, a tokenizer.json or a vocab.txt -> the tokenizer and what tokenizer_config.json says."""
    folder = path if path.is_dir() else path.parent
    settings = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
    if path.is_dir():
        found = [f for name in ("tokenizer.json", "vocab.txt") if (f := folder / name).is_file()]
        if not found and (alone := [*sorted(path.glob("*.model")), *path.glob("merges.txt")]):
            raise InputError(
                "no tokenizer.json beside it",
                file=alone[0],
                expected="what transformers' AutoTokenizer.from_pretrained(…).save_pretrained(…) makes of it",
            )
        if not found:
            raise InputError("no tokenizer here", file=path, expected="tokenizer.json or vocab.txt")
        path = found[0]
    if not path.is_file():
        raise InputError("no such file", file=path, expected="a folder with tokenizer.json or vocab.txt")
    if path.suffix == ".json":
        try:
            return tokenizers.Tokenizer.from_file(str(path)), settings
        except Exception as problem:  # tokenizers raises bare Exception, whatever is wrong
            raise InputError(f"not a tokenizer: {problem}", file=path) from problem
    return wordpiece_from_vocabulary(path, settings), settings


def wordpiece_from_vocabulary(path: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """BERT's tokenizer from its vocab.txt, one piece a line.

    Lower-cased as `do_lower_case` says, and where nothing says it, unless a piece has a capital letter.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as problem:
        raise InputError(f"not UTF-8: {problem.reason}", file=path) from problem
    pieces = [line.rstrip("\r") for line in lines]
    while pieces and not pieces[-1]:
        pieces.pop()
    vocabulary: dict[str, int] = {}
    for row, piece in enumerate(pieces, 1):
        if piece in vocabulary:
            raise InputError(f"the piece {piece!r} stands in row {vocabulary[piece] + 1} too", file=path, row=row)
        vocabulary[piece] = row - 1
    unknown = settings.get("unk_token", "[UNK]")
    unknown = unknown["content"] if isinstance(unknown, Mapping) else unknown
    if unknown not in vocabulary:
        raise InputError(f"no piece {unknown}", file=path, expected="a WordPiece vocabulary, one piece a line")
    capitals = any(c.isascii() and c.isupper() for piece in vocabulary if piece[:1] not in ("[", "<") for c in piece)
    lowercase = settings.get("do_lower_case", not capitals)
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    backend.add_special_tokens([t for t in BERT_SPECIALS if t in vocabulary])
    if "[CLS]" in vocabulary and "[SEP]" in vocabulary:  # what is saved must frame texts for other readers too
        cls, sep = (("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"]))
        backend.post_processor = processors.BertProcessing(sep, cls)
    return backend


def write_folder(
    folder: Path, backend: tokenizers.Tokenizer, settings: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """Write the tokenizer; names: {"cls_token": "[CLS]", …}. A WordPiece's vocab.txt too, for older readers."""
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"), pretty=True)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **settings, **names}
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", names)):
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if isinstance(backend.model, models.WordPiece):
        backend.model.save(str(folder))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise InputError(f"not JSON: {problem}", file=path) from problem
    if not isinstance(content, dict):
        raise InputError("not an object", file=path, expected="a JSON object")
    return content
