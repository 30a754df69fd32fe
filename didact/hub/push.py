"""Upload a model and its card to the Hugging Face hub (Mitchell et al., 2019, "Model cards for model reporting")."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from didact.families import by_name
from didact.heads import EmbeddingHead
from didact.hub.export import export
from didact.hub.load import load
from didact.model import Pretrained

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

PIPELINES = {
    "classes.pooled": "text-classification",
    "classes.rows": "token-classification",
    "span": "question-answering",
    "choice": "multiple-choice",
    "embedding": "sentence-similarity",
    "vocabulary": "fill-mask",
}
"""slot -> the hub's name of what such a model does, the most specific first"""
LOOKING_BACK = {**PIPELINES, "vocabulary": "text-generation"}
"""the same for models whose rows see what came before them alone"""
WRITING = {**PIPELINES, "vocabulary": "text2text-generation"}
"""the same for models with a decoder"""


def push(
    model: str | Path | Pretrained,
    name: str,
    *,
    private: bool = False,
    license: str | None = None,
    language: str | None = None,
    notes: str = "",
) -> str:
    """Upload to OWNER/NAME, made if need be, and give its address.

    model: anything `load` reads, or what it gave. license, language and notes (Markdown) go into the card. The token
    is the one `hf auth login` has stored. Raises huggingface_hub's errors where the hub refuses.
    """
    from huggingface_hub import HfApi

    pretrained = model if isinstance(model, Pretrained) else load(model)
    api = HfApi()
    with tempfile.TemporaryDirectory() as aside:
        export(pretrained, aside)
        text = str(card(pretrained, name, license=license, language=language, notes=notes))
        (Path(aside) / "README.md").write_text(text, encoding="utf-8")
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=aside, commit_message="Upload a model trained with didact")
    return str(address)


def card(
    pretrained: Pretrained,
    name: str,
    *,
    license: str | None = None,
    language: str | None = None,
    notes: str = "",
    on_hub: bool = True,
) -> ModelCard:
    """What a reader needs to know: what it is, how large, what it was trained for, how it is opened. on_hub: whether
    transformers finds it under its name; one that comes with didact only `fetch` does.
    """
    from huggingface_hub import ModelCard, ModelCardData

    slots = {head.slot for head in pretrained.model.specs.values()}
    sentences = any(isinstance(head, EmbeddingHead) for head in pretrained.model.specs.values())
    config = pretrained.model.config
    pipelines = LOOKING_BACK if config.visibility == "causal" else PIPELINES if config.decoder is None else WRITING
    data = ModelCardData(
        license=license,
        language=language,
        library_name="sentence-transformers" if sentences else "transformers",
        pipeline_tag=next((tag for slot, tag in pipelines.items() if slot in slots), "feature-extraction"),
        tags=["didact", pretrained.family],
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(pretrained, name, notes, on_hub)}")


def _text(pretrained: Pretrained, name: str, notes: str, on_hub: bool) -> str:
    config = pretrained.model.config
    family = by_name(pretrained.family)
    size = sum(p.numel() for p in pretrained.model.parameters())
    architecture = family.architecture(pretrained.model.specs).name
    heads = ", ".join(f"`{n}`: {head}" for n, head in pretrained.model.specs.items()) or "none"
    lines = [
        f"# {name}",
        f"A {pretrained.family} of {size:,} parameters: {config.layers} layers, {config.width} wide, {config.heads} "
        f"attention heads, a vocabulary of {config.vocabulary:,}. Heads: {heads}.",
    ]
    if pretrained.task is not None:
        lines.append(f"Fine-tuned for `{pretrained.task.kind}`.")
    if pretrained.objective is not None:
        lines.append(f"Trained with\n\n```json\n{json.dumps(pretrained.objective, indent=2, ensure_ascii=False)}\n```")
    if notes:
        lines.append(notes.strip())
    if not family.unsupported(config):
        imported, place = ("", f'"{name}"') if on_hub else ("from didact import hub\n", f'hub.fetch("{name}")')
        opened = f"from transformers import {architecture}\n\nmodel = {architecture}.from_pretrained({place})"
        lines.append(f"```python\n{imported}{opened}\n```")
    lines.append(f'```python\nimport didact\n\nmodel = didact.load("{name}")\n```')
    lines.append("Sources: " + "; ".join(family.sources) + ".")
    return "\n\n".join(lines) + "\n"
