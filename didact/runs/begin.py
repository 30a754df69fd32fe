"""What a fine-tuning run begins from: a checkpoint, its likeness with fresh weights, or a family's fresh weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from didact import hub
from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys
from didact.families import Family, by_name
from didact.heads import Head
from didact.hub.alike import check_goes_on
from didact.hub.checkpoint import open_checkpoint
from didact.model import Model, Pretrained
from didact.runs.build import changed
from didact.runs.schema import FinetuneRun
from didact.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Begin:
    """name: of the checkpoint, None where a family's fresh weights are drawn; family: whose they are; tokenizer,
    config: of the model, before any head asks for a pooler; changes: of the checkpoint's configuration; scratch:
    whether the checkpoint's weights are left out.
    """

    name: str | None
    family: Family
    tokenizer: Tokenizer
    config: ModelConfig
    changes: Mapping[str, Any]
    scratch: bool = False

    @staticmethod
    def of(run: FinetuneRun) -> Begin:
        """Raises InputError where there is no such checkpoint, tokenizer, family or key."""
        if run.start is not None:
            found = open_checkpoint(hub.fetch(run.start))
            config = changed(found.model, run.model, "model")
            if not run.scratch:
                check_goes_on(config, found.model, run.start)
            changes = {name: getattr(config, name) for name in run.model}
            return Begin(run.start, found.family, Tokenizer.load(found.folder), config, changes, run.scratch)
        assert run.tokenizer is not None  # the schema's word
        changes = dict(run.model)
        family = by_name(changes.pop("family"))
        path = Path(run.tokenizer)
        tokenizer = Tokenizer.load(path if path.exists() else hub.fetch(run.tokenizer))
        config = changed(family.base_for(tokenizer), changes, "model")
        if config.vocabulary < tokenizer.vocabulary:
            raise InputError(
                f"model.vocabulary: found {config.vocabulary}",
                expected=f"{tokenizer.vocabulary} or more, the tokenizer's",
            )
        return Begin(None, family, tokenizer, config, changes)

    def load(self, heads: Mapping[str, Head], generator: torch.Generator) -> Pretrained:
        """The model with these heads; whatever is drawn, `generator` draws. Raises InputError where a file is damaged,
        or the configuration makes no model.
        """
        if self.config.decoder is None:
            row = "first" if self.tokenizer.template.begins else "last"
            heads = {name: self.family.placed(head, row) for name, head in heads.items()}
        if self.name is not None:
            return hub.load(self.name, heads, changes=self.changes, scratch=self.scratch, generator=generator)
        pooler = self.config.pooler or any(head.pools(self.config) for head in heads.values())
        try:
            model = Model(keys.changed(self.config, {"pooler": pooler}), heads, generator)
        except ValueError as problem:
            raise InputError(f"model: {problem}") from None
        model.core.embedding.spell(self.tokenizer.tokens(range(self.config.vocabulary)))
        return Pretrained(model.eval(), self.tokenizer, self.family.name, fresh=tuple(model.state_dict()))
