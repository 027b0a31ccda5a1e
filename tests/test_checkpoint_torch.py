"""Checkpoints from PyTorch: what ``ramekin convert`` makes of them opens there with the right bits."""

from __future__ import annotations

import numpy as np
import pytest

import ramekin as rk
from ramekin.cli.main import main

torch = pytest.importorskip("torch")
torch_files = pytest.importorskip("safetensors.torch")


@pytest.fixture
def source(tmp_path):
    """Two shards as transformers writes them: bfloat16 and float32, odd shapes, a scalar, no elements."""
    torch.manual_seed(0)
    shards = {
        "model-00001-of-00002.safetensors": {
            "a": torch.randn(37, 61), "b": torch.randn(5, 64).to(torch.bfloat16), "scalar": torch.tensor(0.3)
        },
        "model-00002-of-00002.safetensors": {
            "c": torch.randn(3, 7, 11).to(torch.bfloat16), "empty": torch.zeros(0, 8), "ids": torch.arange(9)
        },
    }  # fmt: skip
    directory = tmp_path / "in"
    directory.mkdir()
    for name, tensors in shards.items():
        torch_files.save_file(tensors, directory / name, metadata={"format": "pt"})
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = f'{{"metadata": {{}}, "weight_map": {str(weight_map).replace(chr(39), chr(34))}}}'
    (directory / "model.safetensors.index.json").write_text(index)
    return directory, {name: tensor for tensors in shards.values() for name, tensor in tensors.items()}


def as_numpy(tensor):
    """The same numbers, exactly, in a dtype that NumPy has."""
    return tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()


def read(directory):
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors |= torch_files.load_file(path)
    return tensors


def bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_casts(fmt, source, tmp_path):
    directory, originals = source
    assert main(["convert", str(directory), str(tmp_path / "out"), "--to", fmt]) == 0
    found = read(tmp_path / "out")
    assert set(found) == set(originals)
    for name, tensor in originals.items():
        assert found[name].shape == tensor.shape
        if name == "ids":
            assert torch.equal(found[name], tensor)
            continue
        assert found[name].dtype == getattr(torch, fmt)
        assert bits(found[name]) == rk.cast(as_numpy(tensor), fmt).tobytes()


@pytest.mark.parametrize("fmt", ["mxfp8_e4m3", "nvfp4"])
def test_scaled(fmt, source, tmp_path):
    directory, originals = source
    assert main(["convert", str(directory), str(tmp_path / "out"), "--to", fmt]) == 0
    found = read(tmp_path / "out")
    for name in ("a", "b", "c", "empty"):
        q = rk.quantize(as_numpy(originals[name]), fmt)
        assert bits(found[name]) == q.codes.tobytes()
        assert bits(found[f"{name}_scale"]) == q.scales.tobytes()
        assert found[f"{name}_scale"].dtype == (
            torch.float8_e8m0fnu if fmt != "nvfp4" else torch.float8_e4m3fn
        )
        if fmt == "mxfp8_e4m3":
            assert found[name].dtype == torch.float8_e4m3fn
            assert found[name].shape == originals[name].shape
            scales = np.repeat(found[f"{name}_scale"].float().numpy(), 32, axis=-1)
            values = found[name].float().numpy() * scales[..., : q.shape[-1]]
            assert np.array_equal(values, q.dequantize())
    assert found["scalar"].dtype == torch.float32


def test_back(source, tmp_path):
    directory, originals = source
    assert main(["convert", str(directory), str(tmp_path / "q"), "--to", "mxfp4"]) == 0
    assert main(["convert", str(tmp_path / "q"), str(tmp_path / "back"), "--to", "bfloat16"]) == 0
    found = read(tmp_path / "back")
    assert set(found) == set(originals)
    for name in ("a", "b", "c"):
        expected = rk.quantize(as_numpy(originals[name]), "mxfp4").dequantize("bfloat16")
        assert found[name].dtype == torch.bfloat16
        assert bits(found[name]) == np.ascontiguousarray(expected).tobytes()
