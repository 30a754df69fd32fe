"""A run of replaced-token detection, end to end: what lies in its folder, who opens it, how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from run_tools import SMALL, finetuning, pretraining
from sklearn.metrics import accuracy_score, f1_score

from didact import hub
from didact.batch import Side
from didact.errors import InputError
from didact.families import DEBERTA_V2
from didact.hub.weights import read_json
from didact.model import Pretrained
from didact.nn.characters import spell
from didact.packed import Packed
from didact.runs import runfile, use
from didact.runs.finetune import finetune
from didact.runs.inspect import inspect_run
from didact.runs.pretrain import assemble, pretrain
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.training.state import read_tensors
from didact.training.step import Step

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
ELECTRA: dict[str, Any] = SMALL | {"family": "electra", "embedding_width": 8, "position": {"maximum": 64}}


def values_of(world: Path, folder: Path, replaced: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    data = {"train": str(world / "store"), "format": "full_sentences", "length": 32}
    given = {"model": ELECTRA, "data": data, "objective": {"replaced": {"generator_size": 0.5, **(replaced or {})}}}
    return pretraining(world, folder, **given | changes)


def run_of(world: Path, folder: Path, replaced: dict[str, Any] | None = None, **changes: Any) -> PretrainRun:
    return runfile.checked(PretrainRun, values_of(world, folder, replaced, **changes))


@pytest.fixture(scope="module")
def runs(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run for each way of sharing tables, at a rate at which six steps move weights."""
    folder, fast = tmp_path_factory.mktemp("replaced"), {"learning_rate": 0.02}
    return {
        sharing: pretrain(run_of(world, folder / sharing, {"sharing": sharing}, optimizer=fast))
        for sharing in ("all", "difference")
    }


def test_words_read_from_bytes_are_shared_too(world: Path, tmp_path: Path) -> None:
    """What spells them is no parameter, and one buffer of both models."""
    spelled = {"characters": {"filters": [[1, 4], [3, 8]], "longest": 12}, "tied": False}
    model = ELECTRA | {"family": "bert", "embedding_width": None} | spelled
    done = pretrain(run_of(world, tmp_path / "r", model=model))
    names = [name for name, _ in read_tensors(done / "last" / "state", "weights") if name.endswith("spelling")]
    assert names == ["models.main.core.embedding.word.spelling"]
    both = [hub.load(folder).model.core.state_dict() for folder in (done, done / "last" / "generator")]
    assert torch.equal(*(state["embedding.word.spelling"] for state in both))


@pytest.fixture(scope="module", params=["all", "difference"])
def run(request: pytest.FixtureRequest, runs: dict[str, Path]) -> Path:
    return runs[request.param]


def test_what_lies_in_the_folder(run: Path) -> None:
    """Both models, as trained and as one would write them who had trained each alone; the last one is loaded."""
    last = run / "last"
    assert not (run / "best").exists()
    main, generator = (hub.load(place).model.state_dict() for place in (run, last / "generator"))
    state = dict(read_tensors(last / "state", "weights"))
    for name, tensor in state.items():
        _, model, own = name.split(".", 2)
        if "parametrizations" not in own:
            assert torch.equal((main if model == "main" else generator)[own], tensor), name
    differences = [name for name in state if "parametrizations" in name]
    for name in differences:
        rest = name.removeprefix("models.main.").replace(".parametrizations.weight.original", ".weight")
        assert state[name].any(), "it has moved"
        torch.testing.assert_close(main[rest], generator[rest] + state[name])
    if not differences:
        for table in ("word", "position", "segment", "norm"):
            assert torch.equal(*(own[f"core.embedding.{table}.weight"] for own in (main, generator)))
    config = read_json(last / "config.json")
    assert config["didact"]["companions"] == ["generator"]
    assert config["architectures"] == ["ElectraForPreTraining"]
    assert read_json(last / "generator" / "config.json")["architectures"] == ["ElectraForMaskedLM"]


def test_transformers_opens_both(run: Path) -> None:
    packed = Packed.of([[2, 7, 8, 9, 3], [2, 11, 3]])
    ids, mask = packed.pad(packed.tokens), packed.pad(torch.ones_like(packed.tokens))
    for kind, folder, name in (
        ("ElectraForPreTraining", run / "last", "replaced"),
        ("ElectraForMaskedLM", run / "last" / "generator", "vocabulary"),
    ):
        theirs, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
        assert report["missing_keys"] == report["unexpected_keys"] == set()
        ours = hub.load(folder)
        with torch.inference_mode():
            hidden = ours.model.hidden(Side(packed)).main
            logits = ours.model.heads[name](hidden, None, ours.model.core.embedding.word.weight)
            wanted = theirs(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5)
        assert len(transformers.AutoTokenizer.from_pretrained(folder)) == ours.tokenizer.vocabulary


def test_figures(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    said = result["validation"]
    for rate in (15, 30, 40):
        assert {f"mlm@{rate}/{k}" for k in ("loss", "accuracy", "bits_per_token", "bits_per_byte")} <= said.keys()
        assert {f"rtd@{rate}/{k}" for k in ("loss", "accuracy", "f1")} <= said.keys()
    assert said["loss"] == pytest.approx(said["mlm@15/loss"] + 50.0 * said["rtd@15/loss"])
    assert result["best"] is None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = next(line for line in lines if line["kind"] == "train")
    assert train["loss"] == pytest.approx(train["loss/mlm"] + 50.0 * train["loss/rtd"])
    assert 0.0 <= train["accuracy/rtd"] <= 1.0


def test_f1_is_f1(world: Path, tmp_path: Path) -> None:
    """Against scikit-learn, over all that is asked, with a model that marks some tokens."""
    parts = assemble(run_of(world, tmp_path / "r", model=ELECTRA | {"init_std": 0.5}))
    assert parts.validation is not None
    step = Step(parts.models, parts.objective).eval()
    marks: list[int] = []
    replaced: list[int] = []
    head = step.models["main"].specs["replaced"]  # type: ignore[operator, index, union-attr]
    original = type(head).loss

    def watched(self: Any, logits: torch.Tensor, labels: Any) -> Any:
        marks.extend((logits > 0).long().tolist())
        replaced.extend(labels.values.tolist())
        return original(self, logits, labels)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(type(head), "loss", watched)
        found = type(parts.validation)(**{**vars(parts.validation), "rates": (0.3,)})(step)
    assert 0 < sum(marks) < len(marks)
    assert found["rtd@30/f1"] == pytest.approx(f1_score(replaced, marks))
    assert found["rtd@30/accuracy"] == pytest.approx(accuracy_score(replaced, marks))


def test_the_generator_fills_blanks(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use.fill_text(str(run), "the [MASK] runs", 3)
    assert len(capsys.readouterr().out.splitlines()) == 3
    both, generator = hub.load(run), hub.load(run / "last" / "generator")
    assert both.fill("old [MASK].") == generator.fill("old [MASK].")
    with pytest.raises(InputError, match="no vocabulary head"):
        Pretrained(both.model, both.tokenizer, "electra").fill("old [MASK].")


def test_it_is_converted_and_written_with_its_generator(run: Path, tmp_path: Path) -> None:
    hub.convert(run, tmp_path / "converted")
    hub.export(hub.load(run), tmp_path / "written")
    for folder in ("converted", "written"):
        for inner in (".", "generator"):
            a, b = (hub.load(place / inner).model.state_dict() for place in (run / "last", tmp_path / folder))
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
    said = read_json(tmp_path / "written" / "config.json")
    for name in ("../elsewhere", ".."):
        said["didact"]["companions"] = [name]
        (tmp_path / "written" / "config.json").write_text(json.dumps(said))
        with pytest.raises(InputError, match="expected names of folders inside"):
            hub.load(tmp_path / "written")


def test_both_go_on_from_a_checkpoint(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run that starts from this one computes with the same tables, however they are shared from now on."""
    before = hub.load(run)
    for sharing in ("difference", "none"):
        parts = assemble(
            run_of(world, tmp_path / sharing, {"sharing": sharing}, model={"start": str(run), "dropout": 0.0})
        )
        packed = Packed.of([[2, 7, 8, 9, 3]])
        for name, old in (("main", before.model), ("generator", before.companions["generator"].model)):
            with torch.inference_mode():
                a, b = (model.eval().hidden(Side(packed)).main for model in (old, parts.models[name]))
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert "no generator" not in capsys.readouterr().err
    with pytest.raises(InputError, match=r"generator.*expected changes that leave the shapes"):
        assemble(run_of(world, tmp_path / "other", {"generator_size": 1.0}, model={"start": str(run)}))
    control = assemble(run_of(world, tmp_path / "control", {"control": True}, model={"start": str(run)}))
    assert list(control.models) == ["main"]
    start = run_of(world, tmp_path / "new", {}, model={"start": str(run / "last" / "generator")})
    assert list(assemble(start).models) == ["main", "generator"]
    assert "has no generator; it begins anew" in capsys.readouterr().err


def test_the_model_is_fine_tuned_and_the_generator_left(run: Path, world: Path, tmp_path: Path) -> None:
    tuned = finetune(runfile.checked(FinetuneRun, finetuning(world, tmp_path / "tuned", run)))
    (checkpoint,) = {path.parent.resolve() for path in tuned.rglob("best/config.json")}
    assert not (checkpoint / "generator").exists()
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    assert type(theirs).__name__ == "ElectraForSequenceClassification"


def test_the_control_is_masked_words(world: Path, tmp_path: Path) -> None:
    run = pretrain(run_of(world, tmp_path / "control", {"control": True}))
    assert read_json(run / "last" / "config.json")["architectures"] == ["ElectraForMaskedLM"]
    assert not (run / "last" / "generator").exists()
    assert json.loads((run / "result.json").read_text())["best"] is not None
    a, b = (assemble(run_of(world, tmp_path / "x", {"control": on})).stream[0][0] for on in (True, False))
    assert torch.equal(a.inputs.packed.tokens, b.inputs.packed.tokens)


def test_any_family_detects(world: Path, tmp_path: Path) -> None:
    """A BERT with a head that transformers' BERT has not: loaded here as it was, opened there as a BERT."""
    run = pretrain(run_of(world, tmp_path / "bert", {}, model=SMALL | {"position": {"maximum": 64}}))
    found = hub.load(run)
    assert (found.family, list(found.model.specs), list(found.companions)) == ("bert", ["replaced"], ["generator"])
    assert type(transformers.AutoModel.from_pretrained(run / "last")).__name__ == "BertModel"


def assert_same_as_theirs(ours: Pretrained, theirs: Any, head: str | None) -> None:
    """Two sequences of unequal length: the hidden states, or where both have this head, its logits."""
    packed = Packed.of([[2, 7, 8, 9, 3], [2, 11, 3]])
    ids, mask = packed.pad(packed.tokens), packed.pad(torch.ones_like(packed.tokens))
    with torch.inference_mode():
        given = ours.model.hidden(Side(packed)).main
        if head is not None:
            given = ours.model.heads[head](given, None, ours.model.core.embedding.table)
        out = theirs.eval()(input_ids=ids, attention_mask=mask)
    wanted = (out.last_hidden_state if head is None else out.logits)[mask.bool()]
    assert (given - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_deberta_of_version_3(world: Path, tmp_path: Path) -> None:
    """As the recipe says: a generator as wide and half as deep, whose words the model's are a difference from; what
    transformers has a class for it opens and reads alike; the head that it has none for keeps its name.
    """
    sizes = SMALL | {"family": "deberta-v2", "layers": 2, "position": {"maximum": 64, "buckets": 8}, "init_std": 0.3}
    recipe = yaml.safe_load((RECIPES / "deberta.yaml").read_text())["objective"]
    fast = {"learning_rate": 0.02}
    made = run_of(world, tmp_path / "run", model=sizes, objective=recipe, optimizer=fast)
    parts = assemble(made)
    assert parts.objective == DEBERTA_V2.recipe(parts.pretrained.tokenizer)
    last = pretrain(made) / "last"
    main, generator = hub.load(last), hub.load(last / "generator")
    assert (list(main.model.specs), list(generator.model.specs)) == (["replaced"], ["vocabulary"])
    assert (generator.model.config.width, generator.model.config.layers) == (main.model.config.width, 1)

    state = dict(read_tensors(last / "state", "weights"))
    (difference,) = [tensor for name, tensor in state.items() if "parametrizations" in name]
    tables = [one.model.core.embedding.table for one in (main, generator)]
    assert difference.any(), "it has moved"
    torch.testing.assert_close(tables[0], tables[1] + difference)

    theirs, report = transformers.AutoModel.from_pretrained(last, output_loading_info=True)
    assert type(theirs).__name__ == "DebertaV2Model"
    assert report["missing_keys"] == set()
    assert report["unexpected_keys"] == {
        f"heads.replaced.{layer}.{tensor}" for layer in ("dense", "out") for tensor in ("weight", "bias")
    }
    assert_same_as_theirs(main, theirs, None)
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(last / "generator", output_loading_info=True)
    assert type(theirs).__name__ == "DebertaV2ForMaskedLM"
    assert report["missing_keys"] == report["unexpected_keys"] == set()
    assert_same_as_theirs(generator, theirs, "vocabulary")

    hub.convert(last, tmp_path / "converted")
    again = hub.load(tmp_path / "converted").model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in main.model.state_dict().items())
    tuned = finetune(runfile.checked(FinetuneRun, finetuning(world, tmp_path / "tuned", last)))
    (checkpoint,) = {path.parent.resolve() for path in tuned.rglob("best/config.json")}
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    assert type(theirs).__name__ == "DebertaV2ForSequenceClassification"


def test_a_narrow_generator_of_a_deberta(world: Path, tmp_path: Path) -> None:
    """What transformers' classes cannot say, input vectors wider than the model, is written in didact's own form."""
    sizes = SMALL | {"family": "deberta-v2", "position": {"maximum": 64, "buckets": 8}}
    last = pretrain(run_of(world, tmp_path / "run", model=sizes)) / "last"
    assert read_json(last / "config.json")["model_type"] == "deberta-v2"
    assert read_json(last / "generator" / "config.json")["model_type"] == "didact"
    generator = hub.load(last).companions["generator"].model.config
    assert (generator.width, generator.embedding_width) == (8, 16)


def test_frequencies_are_the_generators(world: Path, tmp_path: Path) -> None:
    parts = assemble(run_of(world, tmp_path / "r", model=ELECTRA | {"vocabulary_bias": "frequencies"}))
    bias = parts.models["generator"].state_dict()["heads.vocabulary.bias"]
    assert float(bias.exp().sum()) == pytest.approx(1.0, rel=1e-4)
    assert len(np.unique(bias.numpy())) > 2


def test_what_does_not_go_together_is_refused(world: Path, tmp_path: Path) -> None:
    two = {"replaced": {}, "next_sentence": {}}
    for changes, said in (
        ({"objective": two}, "objective: replaced cannot stand beside other objectives"),
        ({"validation": {"patience": 2}}, "validation.patience: this objective's questions change"),
        ({"objective": {"replaced": {"sharing": "some"}}}, "objective.replaced.sharing"),
        ({"objective": {"replaced": {"generator_width": 7, "generator_heads": 2}}}, "objective replaced: width 7"),
    ):
        with pytest.raises(InputError) as problem:
            assemble(run_of(world, tmp_path / "r", **changes))
        assert said in str(problem.value)


def test_both_models_read_the_letters_of_the_tokenizer(world: Path, tmp_path: Path) -> None:
    letters = {"tied": False, "characters": {"filters": [[1, 4], [3, 4]], "longest": 9}}
    parts = assemble(run_of(world, tmp_path / "r", {"sharing": "none"}, model=ELECTRA | letters))
    tokenizer = parts.pretrained.tokenizer
    wanted = spell(tokenizer.tokens(range(tokenizer.vocabulary)), 9)
    for model in parts.models.values():
        assert torch.equal(model.state_dict()["core.embedding.word.spelling"], wanted)
    with pytest.raises(InputError, match="no table that could be a difference"):
        assemble(run_of(world, tmp_path / "s", {"sharing": "difference"}, model=ELECTRA | letters))


def test_inspect(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(json.dumps(values_of(world, tmp_path / "r")))
    inspect_run(tmp_path / "run.yaml", (), 1)
    shown = capsys.readouterr().out
    assert "generator  2,276 parameters" in shown
    assert "tokens, as the generator leaves them" in shown
