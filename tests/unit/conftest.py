"""What the tests of runs share: one small world, and one model pre-trained on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_tools import make_world, pretraining

from didact.runs import runfile
from didact.runs.pretrain import pretrain
from didact.runs.schema import PretrainRun


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a tokenizer, a store and labelled files."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def pretrained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pre-training run on it."""
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    return pretrain(runfile.checked(PretrainRun, pretraining(world, run)))
