"""ALBERT's numbers (Lan et al., 2020, table 1 and 2) and its recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from data_tools import small_tokenizer

from didact.errors import InputError
from didact.exchange import keys
from didact.families import ALBERT
from didact.hub.checkpoint import shapes_of
from didact.objectives import Combined


@pytest.mark.parametrize(
    ("width", "heads", "layers", "millions"),
    [(768, 12, 12, 12), (1024, 16, 24, 18), (2048, 16, 24, 60)],
    ids=["base", "large", "xlarge"],
)
def test_parameters_are_those_of_the_paper(width: int, heads: int, layers: int, millions: int) -> None:
    sizes = {"width": width, "heads": heads, "layers": layers, "feedforward": 4 * width}
    shapes = shapes_of(keys.changed(ALBERT.base, sizes), {})
    assert round(sum(torch.Size(shape).numel() for shape in shapes.values()) / 1e6) == pytest.approx(millions, abs=1)


def test_layers_that_repeat_inside_a_group_are_refused() -> None:
    keys.read({"inner_group_num": 1}, ALBERT.keys, ALBERT.base)
    with pytest.raises(InputError, match="inner_group_num 2"):
        keys.read({"inner_group_num": 2}, ALBERT.keys, ALBERT.base, "config.json")


def test_its_recipe(tmp_path: Path) -> None:
    objective = ALBERT.recipe(small_tokenizer(tmp_path))
    assert isinstance(objective, Combined)
    assert (objective.names, objective.relation) == (("mlm", "sop"), "order")
    assert objective.parts[0].select.kind == "ngrams"  # type: ignore[attr-defined]
