"""A family: what a member of BERT's family is made of and how it is called elsewhere. Tables, no code of its own.

A family says what transformers calls its settings, tensors and architectures; everything that reads or writes a
checkpoint goes by these tables and never asks a model its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from torch import Tensor

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys as key_table
from didact.exchange import rules as rule_table
from didact.exchange.keys import Keys
from didact.exchange.rules import Names, Rule
from didact.heads import Choice, Classes, Head, PairRelation, Replacement, Span, Vocabulary

if TYPE_CHECKING:
    from didact.objectives.base import Objective
    from didact.tokenization.tokenizer import Tokenizer

PROBLEMS = (("single_label_classification", "single"), ("multi_label_classification", "multiple"))
PROBLEMS += (("regression", "regression"),)
HEAD_KEYS = ("id2label", "label2id", "problem_type")
# By slot: their key for the dropout before a head's output, and what it is where the key is absent (None: the model's).
DROPOUTS: Mapping[str, tuple[str, float | None]] = dict.fromkeys(
    ("classes.pooled", "classes.rows", "choice"), ("classifier_dropout", None)
)


@dataclass(frozen=True)
class Architecture:
    """A class of transformers: its name, the slots (`Head.slot`) of the heads it has, and whether the core's tensors
    carry `Names.prefix` in its files, None = where it has heads.
    """

    name: str
    slots: tuple[str, ...] = ()
    prefixed: bool | None = None


NONE = Architecture("")  # of a family that transformers does not have


@dataclass(frozen=True)
class Asked:
    """Which rows transformers' classes of a whole sequence read. row: the family's own, what `pooling: cls` means;
    key: of config.json, where another may be said, words: ours -> what it says; None where there is no choice.
    """

    row: Literal["first", "last"] = "first"
    key: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)

    def says(self, pooling: str) -> bool:
        """Whether a head asked of these rows can be told of."""
        return pooling in ("cls", self.row, *self.words)

    def read(self, config: Mapping[str, Any]) -> str:
        """What config.json says."""
        return {theirs: ours for ours, theirs in self.words.items()}.get(config.get(self.key or "", ""), "cls")


@dataclass(frozen=True)
class Family:
    """name: of the member, and the `model_type` of config.json unless that is another; base: the settings of its first
    publication; keys and names: how its settings and tensors are called; architectures: in order of choice, the first
    all of whose slots a model has is what its checkpoint says it is, the last is the bare model, none for a family that
    transformers does not have; tokenizer: the `kind` that its tokenizers are of; recipe: how it was pre-trained;
    sources: papers and code; dropouts: see DROPOUTS; fitted: fields of the configuration, besides the vocabulary, that
    a tokenizer decides; asked: which rows classes of a whole sequence are asked; tied_by_tensors:
    whether a model that calls itself tied is not where its file holds another output matrix (T5); encoder: slots of
    heads that the encoder is asked where there is a decoder, too; all others ask the decoder.
    """

    name: str
    base: ModelConfig
    keys: Keys
    names: Names
    architectures: tuple[Architecture, ...]
    tokenizer: str
    recipe: Callable[[Tokenizer], Objective]
    sources: tuple[str, ...]
    dropouts: Mapping[str, tuple[str, float | None]] = field(default_factory=lambda: DROPOUTS)
    fitted: Callable[[Tokenizer], Mapping[str, Any]] = lambda _tokenizer: {}
    model_type: str | None = None
    asked: Asked = Asked()
    tied_by_tensors: bool = False
    encoder: tuple[str, ...] = ()

    def base_for(self, tokenizer: Tokenizer) -> ModelConfig:
        """The settings of a fresh model that is to read what this tokenizer writes."""
        return key_table.changed(self.base, {"vocabulary": tokenizer.vocabulary, **self.fitted(tokenizer)})

    def architecture(self, heads: Mapping[str, Head]) -> Architecture:
        """What transformers would open a model with these heads as: a class that gives the same answers."""
        slots = {head.slot for head in heads.values() if self.says(head)}
        return next((a for a in self.architectures if slots.issuperset(a.slots)), NONE)

    def says(self, head: Head) -> bool:
        """Whether their class of this slot asks the same rows."""
        return head.row is None or self.asked.says(head.row)

    def placed(self, head: Head, row: Literal["first", "last"]) -> Head:
        """The head where this row of a text answers for it, because of the tokenizer."""
        return _asked_of(head, row) if head.row == "cls" and row != self.asked.row else head

    def prefixed(self, heads: Mapping[str, Head]) -> bool:
        """Whether the core's tensors carry the prefix in the file of a model with these heads."""
        architecture = self.architecture(heads)
        return bool(architecture.slots) if architecture.prefixed is None else architecture.prefixed

    def slots(self, heads: Mapping[str, Head]) -> dict[str, str | None]:
        """The slot of each head: None for a second one of its kind, for one whose names another already has, and for
        one that is asked other rows than their class: under its names theirs would open it and answer otherwise.
        """
        first = self.architecture(heads).slots
        taken: set[str] = set()
        slots: dict[str, str | None] = dict.fromkeys(heads)
        for name, head in sorted(heads.items(), key=lambda item: item[1].slot not in first):
            theirs = {t for rule in self.names.heads.get(head.slot, ()) for t in rule.theirs}
            if theirs and not theirs & taken and self.says(head):
                slots[name] = head.slot
                taken |= theirs
        return slots

    def rules(
        self, expected: Collection[str], heads: Mapping[str, Head], tied: bool, gated: bool | None = None
    ) -> tuple[Rule, ...]:
        """One rule for each of a model's parameters. gated: whether its feed-forward layers are, None = as usual."""
        return rule_table.concrete(
            self.names, expected, self.slots(heads), tied, self.base.gated if gated is None else gated
        )

    def unsupported(self, config: ModelConfig) -> tuple[str, ...]:
        """What of this configuration transformers' classes of the family cannot express; the pooler is told by the
        tensors.
        """
        base = key_table.changed(self.base, {"pooler": config.pooler})
        return key_table.differences(config, self.keys, base)

    def read_config(self, config: Mapping[str, Any], tensors: Mapping[str, Tensor], file: object) -> ModelConfig:
        """Their config.json, and the pooler if the file has one. Raises InputError."""
        ours = key_table.read(config, self.keys, self.base, file)
        tied = ours.tied and not (self.tied_by_tensors and self.names.untied(tensors))
        return key_table.changed(ours, {"pooler": self.names.has_pooler(tensors), "tied": tied})

    def read_heads(self, config: Mapping[str, Any], tensors: Mapping[str, Tensor], file: object) -> dict[str, Head]:
        """The heads of a checkpoint that was not written here, by slot name: those whose tensors it has.

        Where slots share their names, `architectures` decides. Raises InputError where it does not.
        """
        said = {slot for a in self.architectures if a.name in (config.get("architectures") or ()) for slot in a.slots}
        bare = {slot for slot in said if config.get("tie_word_embeddings", True) and self._bare(slot)}
        present = self.names.slots_in(tensors) | bare
        heads: dict[str, Head] = {}
        for slot in sorted(present, key=list(self.names.heads).index):
            rivals = [s for s in present if s != slot and _share(self.names.heads[s], self.names.heads[slot])]
            if rivals and slot not in said:
                if not said & set(rivals):
                    raise InputError(
                        f"architectures {config.get('architectures')} leaves open what "
                        f"{', '.join(t for r in self.names.heads[slot] for t in r.theirs)} is",
                        file=None if file is None else str(file),
                        expected=f"one of {', '.join(a.name for a in self.architectures)}",
                    )
                continue
            rows = {self.names.canonical(name): tensor.shape[0] for name, tensor in tensors.items()}
            head = _head(slot, config, rows.get(self.names.heads[slot][0].theirs[0], 0), file)
            if head.row is not None:
                try:
                    head = _asked_of(head, self.asked.read(config))
                except ValueError as problem:
                    raise InputError(
                        f"{self.asked.key} {config.get(self.asked.key or '')!r}: {problem}",
                        file=None if file is None else str(file),
                    ) from None
            heads[head.kind] = self._with_dropout(head, config, file)
        return heads

    def _bare(self, slot: str) -> bool:
        """Whether a head of a tied model may have no tensor of its own (GPT-2's): then `architectures` tells of it."""
        return all(rule.tied is False or rule.zeros for rule in self.names.heads[slot])

    def _with_dropout(self, head: Head, config: Mapping[str, Any], file: object) -> Head:
        """The head with the dropout that config.json says it has."""
        if not isinstance(head, Choice | Classes | Span) or head.slot not in self.dropouts:
            return head
        key, absent = self.dropouts[head.slot]
        said = config.get(key, absent)
        if said is not None and (isinstance(said, bool) or not isinstance(said, int | float)):
            raise InputError(f"{key} {said!r}", file=None if file is None else str(file), expected="a share, or null")
        # A family whose key is always a number says "the model's own" by that number.
        model = None if absent is None else key_table.read(config, self.keys, self.base, file).dropout
        if isinstance(head, Span):
            return replace(head, dropout=said or 0.0)
        return replace(head, dropout=None if said == model else said)

    def _said_dropout(self, head: Head, config: ModelConfig) -> dict[str, float | None]:
        if not isinstance(head, Choice | Classes | Span) or head.slot not in self.dropouts:
            return {}
        key, absent = self.dropouts[head.slot]
        return {key: config.dropout if head.dropout is None and absent is not None else head.dropout}

    def write_config(
        self, config: ModelConfig, heads: Mapping[str, Head], carried: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Their config.json: keys, architecture, and the names of the classes. Raises InputError where the
        configuration is not one of this family's.
        """
        if strange := self.unsupported(config):
            raise InputError(f"no {self.name} of transformers has {', '.join(strange)}")
        architecture = self.architecture(heads)
        if carried.get("architectures") != [architecture.name]:  # another head's: it would set the number of outputs
            others = {*HEAD_KEYS, *(key for key, _ in self.dropouts.values())}
            carried = {name: value for name, value in carried.items() if name not in others}
        out = key_table.write(config, self.keys, carried)
        out["model_type"] = self.model_type or self.name
        if architecture.name:
            out["architectures"] = [architecture.name]
        for head in heads.values():
            if head.slot in architecture.slots:
                out |= _described(head, carried) | self._said_dropout(head, config)
                if head.row is not None and self.asked.key is not None:
                    words = self.asked.words
                    out[self.asked.key] = words.get(head.row, words["cls"])
        return out


def _asked_of(head: Head, row: str) -> Head:
    """The head where this is the row that it is asked of (`Head.row`)."""
    assert isinstance(head, Classes | Choice)  # those that have a choice
    return replace(head, pooling=cast(Any, row))


def _share(a: tuple[Rule, ...], b: tuple[Rule, ...]) -> bool:
    return bool({t for rule in a for t in rule.theirs} & {t for rule in b for t in rule.theirs})


def _head(slot: str, config: Mapping[str, Any], rows: int, file: object) -> Head:
    """The head that config.json and the rows of its output matrix describe."""
    match slot:
        case "vocabulary":
            return Vocabulary()
        case "pair_relation":
            return PairRelation()
        case "replaced":
            return Replacement()
        case "choice":
            return Choice()
        case "span":
            if rows != 2:
                raise InputError(f"qa_outputs of {rows} rows", file=str(file), expected="2, a start and an end")
            return Span()
        case "classes.pooled" | "classes.rows":
            said = config.get("problem_type")
            if said is not None and said not in dict(PROBLEMS):
                raise InputError(
                    f"problem_type {said!r}", file=str(file), expected=f"one of {', '.join(dict(PROBLEMS))}"
                )
            # transformers takes one label for a regression where nothing is said; taggers are never asked.
            guessed = "regression" if rows == 1 and slot == "classes.pooled" else "single"
            problem: Any = guessed if said is None else dict(PROBLEMS)[said]
            names = _names(config, rows)
            return Classes(rows, problem, pooled=slot == "classes.pooled", names=names)
    raise KeyError(slot)


def _names(config: Mapping[str, Any], rows: int) -> tuple[str, ...] | None:
    """id2label in order, None where it says nothing (LABEL_0 …) or does not fit."""
    labels = config.get("id2label") or {}
    names = tuple(str(labels.get(str(i), f"LABEL_{i}")) for i in range(rows))
    return None if names == tuple(f"LABEL_{i}" for i in range(rows)) or len(labels) != rows else names


def _described(head: Head, carried: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of a head beyond its architecture."""
    out: dict[str, Any] = {}
    if isinstance(head, Classes):
        names = head.names or _names(carried, head.classes) or tuple(f"LABEL_{i}" for i in range(head.classes))
        out["id2label"] = {str(i): name for i, name in enumerate(names)}
        out["label2id"] = {name: i for i, name in enumerate(names)}
        # A tagger in transformers knows one problem only, and a pooled one infers it when it trains.
        if head.pooled:
            out["problem_type"] = {ours: theirs for theirs, ours in PROBLEMS}[head.problem]
    return out
