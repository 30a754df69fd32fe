"""The run file: every key that `pretrain` and `finetune` understand, its unit, its default and what it may be.

Unknown keys are errors. Objectives, tasks and heads are checked against the registries' own dataclasses
(`runs.runfile`), so a new member needs no key here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

SHORTEST = 4  # tokens of a sequence: a pair has three special ones


class Part(BaseModel):
    """A section of a run file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())


def _quantity(value: object) -> object:
    """ "256 sequences" or "32768 tokens" -> (256, "sequences")."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9][0-9_,]*)\s*(sequences?|tokens?)\s*", value)
        if not match:
            raise ValueError('a number and its unit, "256 sequences" or "32768 tokens"')
        return int(match[1].replace(",", "").replace("_", "")), match[2].rstrip("s") + "s"
    if isinstance(value, int | float):
        raise ValueError('a number and its unit, "256 sequences" or "32768 tokens"')
    return value


Quantity = Annotated[tuple[int, Literal["sequences", "tokens"]], BeforeValidator(_quantity)]


def _switch(value: object) -> object:
    """YAML reads on and off as true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _some(value: object) -> object:
    """A path, or a list of at least one."""
    if not isinstance(value, str | Path | list | tuple):
        raise ValueError("a path, or a list of several")
    if isinstance(value, list | tuple) and not value:
        raise ValueError("at least one")
    return value


def _apart(values: tuple[float, ...]) -> tuple[float, ...]:
    """Each is written to six digits, in names of folders and of figures: two that read alike would be one."""
    shown = [f"{value:g}" for value in values]
    if len(set(shown)) < len(shown):
        raise ValueError(f"each once, to six digits; given {', '.join(shown)}")
    return values


Moment = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_apart)]
LearningRates = Annotated[tuple[Rate, ...], AfterValidator(_apart)]
Number = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class StorePart(Part):
    """One store of a mixture. store: its folder; weight: its share, against the others' weights."""

    store: Path
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class PretrainData(Part):
    """What is read. train: a store made by `didact prepare`, or several with weights; temperature: weights are then
    sizes ** (1 / temperature), as multilingual BERT's were; format: how documents become sequences;
    length: of a sequence in tokens, special ones included; workers: processes that prepare batches ahead, 0 = none;
    duplicates: in how many ways each sequence is paired and masked, which then come again (static masking: 1, or BERT's
    10), null = anew in every epoch.
    """

    train: Annotated[tuple[StorePart, ...] | Path, BeforeValidator(_some)]
    temperature: float | None = Field(default=None, gt=0)
    format: str = "full_sentences"
    length: int = Field(default=128, ge=SHORTEST)
    workers: int = Field(default=0, ge=0)
    duplicates: int | None = Field(default=None, ge=1)

    @property
    def stores(self) -> tuple[StorePart, ...]:
        return (StorePart(store=self.train),) if isinstance(self.train, Path) else self.train


class ModelPart(Part):
    """Every key but these replaces a field of the family's ModelConfig (layers, width, heads, feedforward, dropout …).

    family: a member's name, null = the start's, or bert; start: a checkpoint to continue from, fresh weights if absent;
    where the store's tokenizer is the checkpoint's own with more pieces, each new one begins as the mean of the old
    pieces that write it; start_transferred: a checkpoint with another tokenizer than the store's: pieces that both have
    keep what was learned of them, the others begin likewise; start_tiled: a checkpoint of a smaller model, whose
    weights are tiled into the sizes given here; start_thinned: one of more layers, of which a fresh model takes some,
    spread evenly from the first to the last, with all else that fits (DistilBERT begins so); vocabulary_bias: where the
    bias of a fresh vocabulary head begins, at 0 or at the logarithm of the store's token frequencies.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    family: str | None = None
    start: str | None = None
    start_transferred: str | None = None
    start_tiled: str | None = None
    start_thinned: str | None = None
    vocabulary_bias: Literal["zero", "frequencies"] = "zero"

    @model_validator(mode="after")
    def _one_start(self) -> ModelPart:
        said = [*self.starts, *(["vocabulary_bias"] if self.vocabulary_bias == "frequencies" else [])]
        if len(said) > 1:
            raise ValueError(f"one thing that says how the weights begin, not {' and '.join(said)}")
        return self

    @property
    def starts(self) -> dict[str, str]:
        """The checkpoint that it begins from, by its key; none of fresh weights."""
        keys = ("start", "start_transferred", "start_tiled", "start_thinned")
        return {key: name for key in keys if (name := getattr(self, key)) is not None}

    @property
    def continued(self) -> str | None:
        """The checkpoint that is gone on with as it is, but for its pieces."""
        return self.start or self.start_transferred

    @property
    def changes(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Optimizer(Part):
    """AdamW. learning_rate: the peak; betas: decay of the two moments; eps: added to the root of the second;
    weight_decay: of matrices and tables, biases and norms are spared; clip: of the global gradient norm, 0 = off;
    layer_decay: each layer's rate is this times the one above (fine-tuning); freeze: "embeddings", or the number of
    lowest layers whose weights do not move (embeddings included).
    """

    learning_rate: float = Field(default=5e-4, gt=0, allow_inf_nan=False)
    betas: tuple[Moment, Moment] = (0.9, 0.98)
    eps: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip: float = Field(default=1.0, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    freeze: int | Literal["embeddings"] | None = None

    @field_validator("freeze")
    @classmethod
    def _layers(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 0:
            raise ValueError('"embeddings", or a number of layers from 0')
        return value


class Schedule(Part):
    """kind: of decay after the warm-up; warmup: the share of the run in which the rate rises, above 0 for
    "inverse_sqrt"; decay: the share of the run in which "wsd" falls; floor: the last rate, as a share of the peak.
    """

    kind: Literal["linear", "cosine", "inverse_sqrt", "wsd", "constant"] = "linear"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    decay: float = Field(default=0.2, gt=0, le=1)
    floor: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _falls_from_somewhere(self) -> Schedule:
        if self.kind == "inverse_sqrt" and not self.warmup:
            raise ValueError("warmup above 0: inverse_sqrt falls from where the warm-up ends")
        return self


class BatchPart(Part):
    """size: of one optimizer step over all processes; micro_tokens: the most tokens in one forward pass;
    warmup: smaller batches at the start, each until a step: [[until_step, sequences], …].
    """

    size: Quantity = (256, "sequences")
    micro_tokens: int = Field(default=8192, ge=16)
    warmup: tuple[tuple[Number, Number], ...] = ()


class Validation(Part):
    """Fixed questions about held-out documents. every: steps between two validations; sequences: how many are asked;
    rates: shares of hidden tokens, each asked in turn (the first one's loss chooses the best checkpoint); seed: what
    the masks depend on, and nothing else; patience: validations without a better one after which to stop.
    """

    every: int = Field(default=500, ge=1)
    sequences: int = Field(default=512, ge=1)
    rates: Shares = (0.15, 0.30, 0.40)
    seed: int = 0
    patience: int | None = Field(default=None, ge=1)


class Checkpoints(Part):
    """every: steps between two checkpoints; there is one every ten minutes besides, and in fine-tuning one whenever dev
    has become better; keep: how many of the last ones stay, and the best.
    """

    every: int = Field(default=500, ge=1)
    keep: int = Field(default=2, ge=1)


class Hardware(Part):
    """What the policy table decides unless told. device: where to train; precision: in which matrices are multiplied;
    compile: whether the blocks are, "auto" = where the run is long enough; kernel: what computes attention; threads:
    how many this process computes with, one a core unless given; parallel: how torchrun's processes share the work,
    "auto" is DDP; deterministic: only CUDA operators that repeat to the bit.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = "auto"
    kernel: Literal["auto", "dense", "grouped", "varlen", "flex"] = "auto"
    threads: int | None = Field(default=None, ge=1, le=1024)
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    deterministic: bool = False


class Budget(Part):
    """How long the run is, one of four. steps: of the optimizer; epochs: passes over the data, where `batch.size` is in
    sequences; tokens: real ones;
    minutes: of this machine's clock, over all restarts.
    """

    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tokens: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one(self) -> Budget:
        given = [name for name in ("steps", "epochs", "tokens", "minutes") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of steps, epochs, tokens, minutes; given {given or 'none'}")
        return self


@dataclass(frozen=True)
class Shape:
    """A checkpoint of which a run takes the architecture and the tokenizer alone."""

    start: str

    def __str__(self) -> str:
        return f"{self.start} (its shape)"


Input = str | Path | Shape
"""something that a run reads: a path, a name, a shape"""


class Run(Part):
    """What every run has. run: its folder; seed: what everything that is drawn depends on; plugins: modules of the
    user's own that add families, objectives, selections, corruptions, tasks; record: trackers besides metrics.jsonl,
    TensorBoard in any case where it is installed; log_every: steps between two lines of metrics.jsonl; quiet: no
    progress on the terminal.
    """

    run: Path
    seed: int = Field(default=0, ge=0)
    plugins: tuple[str, ...] = ()
    hardware: Hardware = Hardware()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    checkpoints: Checkpoints = Checkpoints()
    record: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    log_every: int = Field(default=10, ge=1)
    quiet: bool = False


class PretrainRun(Run):
    """`didact pretrain RUN.yaml`.

    tokenizer: a check that it is the one that made the store, which is what is used; teacher: a checkpoint that an
    objective learns from (`distilled`), read once and never trained; validation: held-out documents; until: a step
    after which the run is saved and left, to go on later with another `until` or with none; budget and schedule stay
    those of the whole.
    """

    tokenizer: str | None = None
    model: ModelPart = ModelPart()
    teacher: str | None = None
    data: PretrainData
    objective: dict[str, dict[str, Any]] = Field(default_factory=lambda: {"masked": {}})
    batch: BatchPart = BatchPart()
    budget: Budget
    validation: Validation = Validation()
    until: int | None = Field(default=None, ge=1)

    @property
    def inputs(self) -> list[Input]:
        """What is read: stores, and the checkpoints that it starts or learns from."""
        teachers = [] if self.teacher is None else [self.teacher]
        return [*(part.store for part in self.data.stores), *self.model.starts.values(), *teachers]


class TaskData(Part):
    """Labelled files. train: one or several; dev: what the best checkpoint and the learning rate are chosen on; test:
    only reported; limit: the first so many records of each file, None = all.
    """

    train: Annotated[Path | tuple[Path, ...], BeforeValidator(_some)]
    dev: Path | None = None
    test: Path | None = None
    limit: int | None = Field(default=None, ge=1)

    @property
    def training(self) -> tuple[Path, ...]:
        return self.train if isinstance(self.train, tuple) else (self.train,)


class FinetuneRun(Run):
    """`didact finetune RUN.yaml`.

    start: a checkpoint (run folder, small-en, Hugging Face folder or hub name); scratch: the same architecture and
    tokenizer with fresh weights, the honest baseline; tokenizer: in place of a start, what the fresh weights of
    `model.family` read; model: fields of the model's configuration that are not as the start, or the family, has them;
    seeds: one run each, in RUN/seed-N, none = `seed` alone; length: longest input in tokens; evaluate_every: steps
    between looks at dev, None = a third of the run (its end, where the budget is tokens or minutes); learning_rates:
    each tried with the first seed, the best on dev is taken for all; patience: looks at dev without a better one after
    which to stop.
    """

    start: str | None = None
    scratch: bool = False
    tokenizer: str | None = None
    task: dict[str, dict[str, Any]]
    data: TaskData
    seeds: tuple[Seed, ...] = ()
    model: dict[str, Any] = Field(default_factory=dict)
    length: int = Field(default=128, ge=SHORTEST)
    batch: BatchPart = BatchPart(size=(32, "sequences"))
    budget: Budget = Budget(epochs=3.0)
    evaluate_every: int | None = Field(default=None, ge=1)
    learning_rates: LearningRates = ()
    optimizer: Optimizer = Optimizer(learning_rate=5e-5, betas=(0.9, 0.999), eps=1e-8)
    patience: int | None = Field(default=None, ge=1)

    @property
    def inputs(self) -> list[Input]:
        """What is read: labelled files, and the checkpoint whose weights it starts from, or whose shape it takes."""
        start = Shape(self.start) if self.scratch and self.start is not None else self.start
        return [path for path in (*self.data.training, self.data.dev, self.data.test, start) if path is not None]

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed once")
        return seeds

    @model_validator(mode="after")
    def _begins(self) -> FinetuneRun:
        fresh = [
            name for name, given in (("tokenizer", self.tokenizer), ("model.family", self.model.get("family"))) if given
        ]
        if self.start is not None and fresh:
            raise ValueError(f"one thing that says how the weights begin, not start and {' and '.join(fresh)}")
        if self.start is None and (len(fresh) < 2 or self.scratch):
            raise ValueError("a start, or tokenizer and model.family for a family's fresh weights (without scratch)")
        return self
