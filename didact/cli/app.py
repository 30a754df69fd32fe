"""The verbs of `didact`, in the order of a project's life."""

from __future__ import annotations

import typer

from didact.cli import corpus, exchange, experiments, train, use

app = typer.Typer(
    name="didact",
    help="BERT and its family, end to end: raw sequences in, models, answers and Hugging Face checkpoints out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (
    corpus.tokenizer,
    corpus.prepare,
    corpus.collocations,
    train.inspect,
    train.pretrain,
    train.finetune,
    use.evaluate,
    use.predict,
    use.fill,
    use.embed,
    use.generate,
    use.fewshot,
    exchange.convert,
    exchange.push,
    experiments.lab,
    experiments.bench,
):
    app.command()(verb)
