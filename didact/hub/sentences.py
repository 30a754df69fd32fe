"""sentence-transformers' folder (Reimers & Gurevych, 2019): which modules turn hidden states into one vector a text.

modules.json lists them in order; 1_Pooling/config.json says how rows are pooled, sentence_bert_config.json how many
tokens of a text are read. What is written is the older form, which old and new versions read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from didact.errors import InputError
from didact.heads.embedding import EmbeddingHead, Pooling
from didact.hub.weights import read_json, write_json

MODULES = "modules.json"
POOLINGS: tuple[tuple[str, str, Pooling], ...] = (
    ("pooling_mode_cls_token", "cls", "cls"),
    ("pooling_mode_mean_tokens", "mean", "mean"),
    ("pooling_mode_max_tokens", "max", "max"),
    ("pooling_mode_lasttoken", "lasttoken", "last"),
)
"""(flag of the older form, name in the newer form, ours)"""
OTHERS = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
TYPE = "sentence_transformers.models."


def read(folder: Path) -> tuple[Path, EmbeddingHead | None]:
    """(the transformer's own folder, how its rows become a vector): (folder, None) where there is no modules.json.

    Raises InputError on a module that is not supported, since leaving it out would change the vectors.
    """
    if not (folder / MODULES).is_file():
        return folder, None
    path = folder / MODULES
    modules = _modules(path)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise InputError(f"modules {', '.join(kinds)}", file=path, expected="Transformer, Pooling[, Normalize]")
    inner = folder / modules[0][1]
    settings = inner / "sentence_bert_config.json"
    said = read_json(settings) if settings.is_file() else {}
    if said.get("do_lower_case"):
        raise InputError("do_lower_case true", file=settings, expected="lower-casing left to the tokenizer")
    return inner, EmbeddingHead(
        pooling=_pooling(folder / modules[1][1] / "config.json"),
        normalise="Normalize" in kinds,
        maximum=said.get("max_seq_length"),
    )


def write(folder: Path, head: EmbeddingHead, width: int) -> None:
    """The files that make a Hugging Face folder a sentence-transformers one."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")] + ([("Normalize", "2_Normalize")] * head.normalise)
    modules = [{"idx": i, "name": str(i), "path": path, "type": TYPE + kind} for i, (kind, path) in enumerate(kinds)]
    write_json(modules, folder / MODULES)
    settings: dict[str, Any] = {"max_seq_length": head.maximum, "do_lower_case": False}
    write_json(settings, folder / "sentence_bert_config.json")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    flags = {flag: ours == head.pooling for flag, _, ours in POOLINGS} | dict.fromkeys(OTHERS[:1], False)
    write_json({"word_embedding_dimension": width} | flags, folder / "1_Pooling" / "config.json")


def _modules(path: Path) -> list[tuple[str, str]]:
    """(kind, folder) of each module, in order."""
    import json

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in sorted(content, key=lambda m: m["idx"])]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as problem:
        raise InputError("not a list of modules", file=path) from problem


def _pooling(path: Path) -> Pooling:
    said = read_json(path)
    modes = said.get("pooling_mode", [flag for flag, on in said.items() if flag.startswith("pooling_mode_") and on])
    modes = [modes] if isinstance(modes, str) else list(modes) or ["mean"]
    for flag, name, ours in POOLINGS:
        if modes in ([flag], [name]):
            return ours
    raise InputError(f"pooling {', '.join(map(str, modes))}", file=path, expected="one of mean, cls, max, lasttoken")
