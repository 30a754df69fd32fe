"""Reading tensors: every form, and every way a file can be wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from didact.errors import InputError
from didact.hub import weights

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.float16), "c": torch.arange(3)}


def check(folder: Path) -> None:
    found = weights.read(folder)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def sharded(folder: Path) -> None:
    save_file({"a": TENSORS["a"], "b": TENSORS["b"]}, folder / "model-00001-of-00002.safetensors")
    save_file({"c": TENSORS["c"]}, folder / "model-00002-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    index = {"metadata": {}, "weight_map": shards | {"c": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_one_file(tmp_path: Path) -> None:
    weights.write(TENSORS, tmp_path)
    check(tmp_path)


def test_equal_tensors_give_equal_bytes(tmp_path: Path) -> None:
    for folder, order in ((tmp_path / "x", list(TENSORS)), (tmp_path / "y", list(TENSORS)[::-1])):
        folder.mkdir()
        weights.write({name: TENSORS[name] for name in order}, folder)
    assert (tmp_path / "x" / weights.SINGLE).read_bytes() == (tmp_path / "y" / weights.SINGLE).read_bytes()


def test_how_a_tensor_lies_in_memory_is_nothing_to_the_file(tmp_path: Path) -> None:
    lying = {
        name: t.t().contiguous().t() if t.dim() == 2 else t.repeat_interleave(2)[::2] for name, t in TENSORS.items()
    }
    assert not any(t.is_contiguous() for t in lying.values())
    weights.write(lying, tmp_path)
    check(tmp_path)


def test_shards(tmp_path: Path) -> None:
    sharded(tmp_path)
    check(tmp_path)


def test_pytorch(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    check(tmp_path)


def test_safetensors_come_first(tmp_path: Path) -> None:
    weights.write(TENSORS, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    check(tmp_path)


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never run",))


def test_a_pickle_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("zip", None), ("bare", pickle.dumps({"a": Malicious()}, protocol=2))):
        folder = tmp_path / name
        folder.mkdir()
        if content is None:
            torch.save({"a": Malicious()}, folder / "pytorch_model.bin")
        else:
            (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(InputError, match=r"pytorch_model\.bin"):
            weights.read(folder)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("kept", [0, 4, 40, 150])
def test_cut_short(tmp_path: Path, kept: int) -> None:
    weights.write(TENSORS, tmp_path)
    whole = (tmp_path / weights.SINGLE).read_bytes()
    assert kept < len(whole)
    (tmp_path / weights.SINGLE).write_bytes(whole[:kept])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged or cut short"):
        weights.read(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_pytorch_file_cut_short(tmp_path: Path, share: float) -> None:
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    whole = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"pytorch_model\.bin"):
        weights.read(tmp_path)


def test_not_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="not a dictionary"):
        weights.read(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights here"):
        weights.read(tmp_path)


def test_a_missing_shard(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002\.safetensors: no such file"):
        weights.read(tmp_path)


def test_an_index_that_lies(tmp_path: Path) -> None:
    sharded(tmp_path)
    path = tmp_path / "model.safetensors.index.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({"weight_map": said["weight_map"] | {"d": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(InputError, match="d in no shard"):
        weights.read(tmp_path)
    path.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(InputError, match="same folder"):
        weights.read(tmp_path)
    path.write_text("{}")
    with pytest.raises(InputError, match="no weight_map"):
        weights.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", "x.json:1: not JSON"),
        (b"{\n\n'a'}", "x.json:3: not JSON"),
        (b"[]", "a JSON list"),
        (b"\xff{}", "not UTF-8"),
    ],
)
def test_json(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=found):
        weights.read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="no such file"):
        weights.read_json(tmp_path / "y.json")
