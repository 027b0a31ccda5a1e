"""Quantised arrays in files: bits and layouts kept, other readers, descriptions that are refused."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors

import ramekin as rk
from ramekin.storage import sharded

X = np.random.default_rng(3).standard_normal((6, 64)).astype(np.float32)
OWN = rk.BlockFormat("own", "float6_e2m3fn", "float8_e3m4", 8, tensor_scale=True)

CASES = {
    **{fmt.name: rk.quantize(X, fmt) for fmt in rk.block_formats()},
    "odd rows": rk.quantize(X[:, :33], "mxfp6_e2m3"),
    "axis 0": rk.quantize(X, "mxfp4", axis=0),
    "tiles": rk.quantize(X, "nvfp4", block=(4, 16)),
    "transposed": rk.quantize(X, "mxfp4").T,
    "one scale": rk.quantize(X, "float8_e4m3fn"),
    "one scale, transposed": rk.quantize(X, "float4_e2m1fn").T,
    "one scale, axes moved": rk.quantize(X.reshape(2, 3, 64), "float6_e3m2fn").transpose(2, 0, 1),
    "columns": rk.quantize(X, "float8_e5m2", axis=0),
    "bfloat16": rk.quantize(X, "bfloat16", block=(2, 3)),
    "p3109": rk.quantize(X, "p3109_k7p3se", block=5),
    "own": rk.quantize(X, OWN),
    "no axes": rk.quantize(np.float32(3), "float8_e4m3fn"),
    "empty": rk.quantize(X[:0], "nvfp4"),
    "empty axis": rk.quantize(X[:, :0], "float8_e4m3fn", axis=1),
}


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_all_come_back(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    rk.save(path, CASES | {"plain": X})
    tensors = rk.load(path)
    assert set(tensors) == {*CASES, "plain"}
    for name, q in CASES.items():
        read = tensors[name]
        assert read == q, name
        info = tensors.info(name)
        assert (info.shape, info.nbytes, info.scheme.format) == (q.shape, q.nbytes, q.format), name
        assert np.array_equal(np.asarray(read), np.asarray(q), equal_nan=True)
    assert tensors.info("plain").scheme is None
    rk.save(tmp_path / f"again.{suffix}", tensors)
    again = rk.load(tmp_path / f"again.{suffix}")
    assert all(again[name] == q for name, q in CASES.items())
    assert (tmp_path / f"again.{suffix}").stat().st_size == path.stat().st_size


def test_other_readers_see_codes_and_scales(tmp_path):
    path = tmp_path / "x.safetensors"
    names = ["nvfp4", "mxfp6_e3m2", "mxint8", "odd rows", "one scale", "axis 0", "bfloat16"]
    rk.save(path, {name: CASES[name] for name in names})
    found = {name: (t["dtype"], tuple(t["shape"])) for name, t in safetensors.deserialize(path.read_bytes())}
    assert found == {
        "nvfp4": ("F4", (6, 64)), "nvfp4_scale": ("F8_E4M3", (6, 4)), "nvfp4_tensor_scale": ("F32", ()),
        "mxfp6_e3m2": ("F6_E3M2", (6, 64)), "mxfp6_e3m2_scale": ("F8_E8M0", (6, 2)),
        "mxint8": ("I8", (6, 64)), "mxint8_scale": ("F8_E8M0", (6, 2)),
        "odd rows": ("U8", (6, 25)), "odd rows_scale": ("F8_E8M0", (6, 2)),
        "one scale": ("F8_E4M3", (6, 64)), "one scale_scale": ("F32", ()),
        "axis 0": ("U8", (3, 64)), "axis 0_scale": ("F8_E8M0", (1, 64)),
        "bfloat16": ("BF16", (6, 64)), "bfloat16_scale": ("F32", (3, 22)),
    }  # fmt: skip
    data = {name: bytes(t["data"]) for name, t in safetensors.deserialize(path.read_bytes())}
    assert data["nvfp4"] == CASES["nvfp4"].codes.tobytes()
    assert data["mxint8_scale"] == CASES["mxint8"].scales.tobytes()


@pytest.mark.parametrize("name", ["nvfp4", "mxfp6_e2m3", "axis 0", "bfloat16"])
def test_codes_lie_in_the_mapped_file(name, tmp_path):
    rk.save(tmp_path / "x.safetensors", {"w": CASES[name]})
    read = rk.load(tmp_path / "x.safetensors")["w"]
    for array in (read.codes, read.scales):
        assert not array.flags.writeable
        while isinstance(array, np.ndarray):
            array = array.base
        assert isinstance(array.obj, mmap.mmap)


def test_shards_may_part_codes_and_scales(tmp_path):
    rk.save(tmp_path / "checkpoint", {"a": CASES["nvfp4"], "b": CASES["mxfp4"]}, max_shard_size=1)
    tensors = rk.load(tmp_path / "checkpoint")
    assert len(list((tmp_path / "checkpoint").glob("*.safetensors"))) == 5
    assert list(tensors) == ["a", "b"]
    assert (tensors["a"], tensors["b"]) == (CASES["nvfp4"], CASES["mxfp4"])
    index = tmp_path / "checkpoint" / sharded.INDEX
    document = json.loads(index.read_text())
    del document["weight_map"]["a_scale"]
    index.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="tensor 'a': its scales 'a_scale' are not there"):
        rk.load(tmp_path / "checkpoint")


def test_names_of_scales_are_not_taken(tmp_path):
    for names in (["w", "w_scale"], ["w_scale", "w"]):
        with pytest.raises(ValueError, match="the scales of array 'w' cannot be 'w_scale', which is another"):
            rk.save(
                tmp_path / "x.safetensors", {name: CASES["mxfp4"] if name == "w" else X for name in names}
            )
    assert not list(tmp_path.iterdir())


def test_formats_that_a_file_cannot_name(tmp_path):
    nameless = rk.FloatFormat("mine", exponent_bits=3, mantissa_bits=2)
    for fmt in (nameless, rk.BlockFormat("own", nameless, "float8_e8m0fnu", 8)):
        with pytest.raises(TypeError, match="array 'w': mine is a format of one's own, which a file cannot"):
            rk.save(tmp_path / "x.safetensors", {"w": rk.quantize(X, fmt)})


def rewritten(path: Path, change) -> None:
    """The file with another description; the data as they are."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    notes = json.loads(header["__metadata__"]["ramekin"])
    change(notes["tensors"], header)
    header["__metadata__"]["ramekin"] = json.dumps(notes)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def changed(**fields):
    return lambda notes, header: notes["w"]["quantized"].update(fields)


def renamed(notes, header):
    header["v"] = header.pop("w_scale")


def twice(notes, header):
    notes["v"] = notes["w"]
    header["v"] = header["w"] | {"data_offsets": [header["w"]["data_offsets"][1]] * 2, "shape": [0, 64]}


def retyped(name, dtype, shape):
    return lambda notes, header: header[name].update(dtype=dtype, shape=shape)


MALFORMED = {
    "no fields": (
        lambda notes, header: notes.update(w={"quantized": {}}),
        "which this version does not know",
    ),
    "no object": (lambda notes, header: notes.update(w={"quantized": 1}), "which this version does not know"),
    "more": (lambda notes, header: notes["w"].update(more=1), "which this version does not know"),
    "unknown format": (changed(format="fp9"), "its description: unknown format 'fp9'; accepted: mxfp8_e4m3"),
    "format a number": (changed(format=1), "its format is described as 1, which this version does not know"),
    "format in part": (changed(format={"name": "x"}), "its format is described as {'name': 'x'}"),
    "format of numbers": (
        changed(
            format={"name": "x", "element": 1, "scale": 2, "block": 4, "tensor_scale": True, "integer": False}
        ),
        "accepted: names of formats",
    ),
    "format impossible": (
        changed(
            format={
                "name": "x",
                "element": "float4_e2m1fn",
                "scale": "float8_e4m3fn",
                "block": 0,
                "tensor_scale": True,
                "integer": False,
            }
        ),
        "x: block is 0; accepted: a positive int",
    ),
    "format of floats": (
        changed(
            format={
                "name": "x",
                "element": "float4_e2m1fn",
                "scale": "float8_e4m3fn",
                "block": 1.5,
                "tensor_scale": True,
                "integer": False,
            }
        ),
        "x: block is a positive int, not float",
    ),
    "shape no list": (changed(shape=6), "its shape is described as 6; accepted: a list of sizes"),
    "shape negative": (changed(shape=[-6, 64]), "its shape is described as [-6, 64]"),
    "shape of bools": (changed(shape=[True, 64]), "its shape is described as [True, 64]"),
    "another shape": (changed(shape=[6, 32]), "are F4 of shape (6, 32), not F4 of shape (6, 64)"),
    "huge": (changed(shape=[2**62, 2**62]), "not F4 of shape (6, 64)"),
    "axis out of range": (changed(axis=2), "axis 2 is out of range for 2 dimensions"),
    "axis text": (changed(axis="1"), "its description: axis is '1'; accepted: an int"),
    "another block": (changed(block=32), "nvfp4 has blocks of 16, not 32"),
    "another order": (changed(order=[0, 2]), "its order is described as [0, 2]; accepted: null, or the axes"),
    "order no list": (changed(order=1), "its order is described as 1"),
    "scales a number": (changed(scales=1), "accepted: names of tensors"),
    "scales twice": (changed(scales="w_tensor_scale"), "accepted: names of tensors"),
    "scales are codes": (changed(scales="w"), "'w' are no scales of its own"),
    "scales of two": (twice, "'w_scale' are no scales of its own"),
    "no tensor scale": (changed(tensor_scale=None), "nvfp4 has a tensor scale, but its description says"),
    "tensor scale": (changed(format="mxfp4", block=None), "mxfp4 has no tensor scale, but its description"),
    "no scales": (renamed, "tensor 'w': its scales 'w_scale' are not there"),
    "codes of another dtype": (retyped("w", "U8", [192]), "are F4 of shape (6, 64), not U8 of shape (192,)"),
    "scales of another dtype": (
        retyped("w_scale", "I8", [6, 4]),
        "scales of nvfp4 are float8_e4m3fn or uint8",
    ),
    "scales of another shape": (
        retyped("w_scale", "F8_E4M3", [4, 6]),
        "its scales have shape (4, 6), not (6, 4)",
    ),
    "tensor scale of another shape": (
        retyped("w_tensor_scale", "F32", [1]),
        "its tensor scale is float32 of shape (1,); accepted: float32 of shape ()",
    ),
    "tensor scale of another dtype": (
        retyped("w_tensor_scale", "I32", []),
        "its tensor scale is int32 of shape (); accepted: float32 of shape ()",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_descriptions_that_are_none(case, tmp_path):
    change, said = MALFORMED[case]
    path = tmp_path / "x.safetensors"
    rk.save(path, {"w": CASES["nvfp4"]})
    rewritten(path, change)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        rk.load(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path} ")
    assert "tensor 'w'" in line or "tensor 'v'" in line


def test_a_tensor_scale_that_is_none(tmp_path):
    path = tmp_path / "x.safetensors"
    rk.save(path, {"w": CASES["nvfp4"]})
    content = bytearray(path.read_bytes())
    data = 8 + int.from_bytes(content[:8], "little")
    begin, end = json.loads(content[8:data])["w_tensor_scale"]["data_offsets"]
    content[data + begin : data + end] = np.float32(-1).tobytes()
    path.write_bytes(content)
    tensors = rk.load(path)
    with pytest.raises(ValueError, match=re.escape(f"{path}: tensor 'w': tensor_scale is -1.0; accepted")):
        tensors["w"]


def test_npz_descriptions_that_are_none(tmp_path):
    path = tmp_path / "x.npz"
    rk.save(path, {"w": CASES["mxfp4"]})
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    notes = json.loads(str(arrays["__ramekin__"]))
    for change, said in (
        (
            {"shape": [6, 32]},
            "codes of mxfp4 in shape (6, 32) are F4 of shape (6, 32), not |u1 of shape (6, 32)",
        ),
        ({"shape": "6"}, "its shape is described as 6"),
    ):
        scheme = notes["tensors"]["w"]["quantized"] | change
        edited = json.dumps({"tensors": notes["tensors"] | {"w": {"quantized": scheme}}})
        np.savez(path, **(arrays | {"__ramekin__": np.array(edited)}))
        with pytest.raises(ValueError, match=re.escape(said)):
            rk.load(path)
