"""Files that are not what they should be: refused with a ValueError that says why, whatever their bytes."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import zipfile

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import ramekin as rk


def tensor(dtype="U8", shape=(2,), begin=0, end=2):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def described(notes, dtype="U8", data=b"\1\2"):
    notes = notes if isinstance(notes, str) else json.dumps(notes)
    return safetensors_bytes({"__metadata__": {"ramekin": notes}, "w": tensor(dtype, end=len(data))}, data)


W = tensor()
TWICE = b'{"a":%s,"a":%s}' % ((json.dumps(W).encode(),) * 2)
MALFORMED = {
    "empty file": (b"", "header too small"),
    "no header": (b"\1\0\0", "header too small"),
    "truncated header": (safetensors_bytes({"w": W}, b"ab")[:20], "invalid header length"),
    "truncated data": (
        safetensors_bytes({"w": tensor(end=4, shape=(4,))}, b"ab"),
        "not fully covered (the file has 70 bytes)",
    ),
    "overlong header": (safetensors_bytes({}, length=2**40), "header too large"),
    "longest header": (safetensors_bytes({}, length=2**64 - 1), "header too large"),
    "too much data": (safetensors_bytes({"w": W}, b"abc"), "not fully covered"),
    "overlap": (
        safetensors_bytes({"a": W, "b": tensor(begin=1, end=3)}, b"abc"),
        "invalid offset for tensor `b`",
    ),
    "hole": (
        safetensors_bytes({"a": W, "b": tensor(begin=3, end=5)}, b"abcde"),
        "invalid offset for tensor `b`",
    ),
    "backwards": (safetensors_bytes({"a": tensor(begin=2, end=0)}, b"ab"), "invalid offset for tensor `a`"),
    "too small": (safetensors_bytes({"w": tensor("F32")}, b"ab"), "invalid shape, data type, or offset"),
    "too large": (
        safetensors_bytes({"w": tensor("F32", (2**40, 2**40))}, b"ab"),
        "overflow computing buffer size",
    ),
    "negative": (safetensors_bytes({"w": tensor(shape=(-2,))}, b"ab"), "integer `-2`, expected usize"),
    "wrong dtype": (safetensors_bytes({"w": tensor("F8_E3M4")}, b"ab"), "unknown variant `F8_E3M4`"),
    "odd float4": (safetensors_bytes({"w": tensor("F4", (3,))}, b"ab"), "does not end up at a byte boundary"),
    "not JSON": (safetensors_bytes(b"{nope"), "invalid JSON in header"),
    "no object": (safetensors_bytes(b"[]"), "invalid type: sequence"),
    "deep": (safetensors_bytes(b'{"a":' + b"[" * 100_000), "recursion limit"),
    "not UTF-8": (safetensors_bytes(b'{"\xff":1}'), "invalid UTF-8"),
    "metadata of numbers": (safetensors_bytes({"__metadata__": {"a": 1}}), "integer `1`, expected a string"),
    "two of a name": (safetensors_bytes(TWICE, b"ab"), "'a' appears twice"),
    "two notes of a name": (safetensors_bytes(b'{"__metadata__":{"a":"b","a":"c"}}'), "'a' appears twice"),
    "description no JSON": (described("{"), "its metadata under 'ramekin' describes no tensors"),
    "description deep": (described("[" * 100_000), "describes no tensors"),
    "description of another form": (described({"tensors": {}, "version": 2}), "describes no tensors"),
    "description no object": (described({"tensors": {"w": 1}}), "describes no tensors"),
    "described and absent": (
        described({"tensors": {"v": {"format": "float8_e3m4"}}}),
        "describes a tensor 'v', which it does not hold",
    ),
    "unknown description": (
        described({"tensors": {"w": {"scheme": "x"}}}),
        "tensor 'w': it is described as {'scheme': 'x'}, which this version does not know",
    ),
    "unknown format": (
        described({"tensors": {"w": {"format": "float9"}}}),
        "which this version does not know",
    ),
    "format no text": (described({"tensors": {"w": {"format": [1]}}}), "which this version does not know"),
    "format without dtype": (described({"tensors": {"w": {"format": "tfloat32"}}}), "does not know"),
    "format of another width": (
        described({"tensors": {"w": {"format": "bfloat16"}}}),
        "codes of bfloat16 are uint16, not uint8",
    ),
    "format of signed codes": (
        described({"tensors": {"w": {"format": "float8_e3m4"}}}, "I8"),
        "codes of float8_e3m4 are uint8, not int8",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_safetensors_that_are_none(case, tmp_path):
    content, said = MALFORMED[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        rk.load(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path} is no valid safetensors file: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (safetensors_bytes({"w": tensor("BOOL")}, b"\1\2"), "a bool is stored as the byte 2; accepted: 0"),
        (described({"tensors": {"w": {"format": "float4_e2m1fn"}}}, data=b"\3\x10"),
         "16 is no code of float4_e2m1fn, which lie between 0 and 15"),
        (safetensors_bytes({"w": tensor("U8", (0, 2**40, 2**40), 0, 0)}), ""),
        (safetensors_bytes({"w": tensor("U8", (1,) * 65, 0, 1)}, b"a"), "maximum supported dimension"),
    ],
)  # fmt: skip
def test_tensors_that_are_none(content, said, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    tensors = rk.load(path)
    with pytest.raises(ValueError, match=re.escape(f"{path}: tensor 'w': ")) as caught:
        tensors["w"]
    assert said in str(caught.value)


def test_unaligned_tensors_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    numbers = np.array([1.5, -2.5])
    header = {"a": tensor("U8", (1,), 0, 1), "b": tensor("F64", (2,), 1, 17)}
    path.write_bytes(safetensors_bytes(header, b"\7" + numbers.tobytes()))
    read = rk.load(path)["b"]
    assert not read.flags.aligned
    assert rk.cast(read, rk.bfloat16).astype(float).tolist() == [1.5, -2.5]


def valid_file(suffix):
    stream = io.BytesIO()
    arrays = {"a": np.arange(6, dtype=np.float32), "b": np.array([True, False])}
    if suffix == "npz":
        np.savez(stream, **arrays)
        return stream.getvalue()
    notes = json.dumps({"tensors": {"c": {"format": "float6_e2m3fn"}}})
    header = {
        "__metadata__": {"ramekin": notes},
        "a": tensor("F32", (6,), 0, 24),
        "b": tensor("BOOL", (2,), 24, 26),
        "c": tensor("U8", (2,), 26, 28),
    }
    return safetensors_bytes(header, arrays["a"].tobytes() + b"\1\0\1\2")


VALID = {suffix: valid_file(suffix) for suffix in ("safetensors", "npz")}


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_every_shortened_file_is_refused(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(VALID[suffix])
    assert len(list(rk.load(path).values())) >= 2
    for length in range(len(VALID[suffix])):
        path.write_bytes(VALID[suffix][:length])
        with pytest.raises(ValueError, match=rf"x.{suffix} is no valid .*file"):
            rk.load(path)


@given(
    suffix=st.sampled_from(["safetensors", "npz"]),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused(suffix, changes, tmp_path):
    content = bytearray(VALID[suffix])
    for place, byte in changes:
        content[int(place * len(content))] = byte
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    said = ""
    try:
        for array in rk.load(path).values():
            array.tobytes()
    except ValueError as error:
        said = str(error)
    assert not said or f"x.{suffix}" in said


def test_no_giant_allocation(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes({}, length=99_000_000))
    (tmp_path / "b.safetensors").write_bytes(safetensors_bytes({"w": tensor("F64", (2**40,), 0, 2**43)}))
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
        )
        archive.writestr("w.npy", member.getvalue())
    # A stored member that says it is a TiB long, in both of its headers.
    header = member.getvalue()
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("w.npy", header)
    content = (tmp_path / "d.npz").read_bytes()
    claimed = content.replace(
        struct.pack("<II", len(header), len(header)), struct.pack("<II", *(2**32 - 2,) * 2)
    )
    assert claimed.count(struct.pack("<II", *(2**32 - 2,) * 2)) == 2
    (tmp_path / "d.npz").write_bytes(claimed)
    code = f"""
import resource
import ramekin as rk
resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))
for name in ("a.safetensors", "b.safetensors", "c.npz", "d.npz"):
    try:
        rk.load({str(tmp_path)!r} + "/" + name)
    except ValueError as error:
        print(name, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.split()[0] for line in said] == ["a.safetensors", "b.safetensors", "c.npz", "d.npz"]
    assert "invalid header length" in said[0]
    assert "float64 of shape (1099511627776,) takes 8796093022208 bytes, not 0" in said[2]
    assert "it lies beyond the file" in said[3]


# --- .npz ---


def npz(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def npy(array, allow_pickle=False):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=allow_pickle)
    return stream.getvalue()


def npz_described(notes, array):
    return npz([("w.npy", npy(array)), ("__ramekin__.npy", npy(np.array(json.dumps(notes))))])


U8 = np.array([1, 2], np.uint8)
BAD_NPZ = {
    "no zip": (b"nonsense", "File is not a zip file"),
    "no array": (npz([("w.txt", b"hello")]), "it holds 'w.txt', which is no .npy"),
    "no npy": (npz([("w.npy", b"hello")]), "array 'w'"),
    "empty": (npz([("w.npy", b"")]), "array 'w'"),
    "objects": (npz([("w.npy", npy([None], allow_pickle=True))]), "array 'w': it holds Python objects"),
    "cut": (npz([("w.npy", npy(U8)[:-1])]), "array 'w': uint8 of shape (2,) takes 2 bytes, not 1"),
    "long": (npz([("w.npy", npy(U8) + b"x")]), "uint8 of shape (2,) takes 2 bytes, not 3"),
    "negative": (npz([("w.npy", npy(U8).replace(b"(2,)", b"(-2)"))]), "array 'w'"),
    "negative size": (
        npz([("w.npy", npy(U8.reshape(1, 2)).replace(b"(1, 2)", b"(-1,2)"))]),
        "(-1, 2) has a negative size",
    ),
    "version": (
        npz([("w.npy", npy(U8).replace(b"NUMPY\1", b"NUMPY\3"))]),
        "it is of version (3, 0); accepted: (1, 0) and (2, 0)",
    ),
    "bz2": (npz([("w.npy", npy(U8))], zipfile.ZIP_BZIP2), "compressed in a way that NumPy does not use"),
    "another name where it lies": (
        npz([("w.npy", npy(np.arange(999)))])[:26] + b"\xff\x0f" + npz([("w.npy", npy(np.arange(999)))])[28:],
        "File name in directory 'w.npy' and header",
    ),
    "notes of another form": (npz_described({"x": 1}, U8), "describes no tensors"),
    "described and absent": (
        npz_described({"tensors": {"v": {"format": "float8_e3m4"}}}, U8),
        "describes an array 'v'",
    ),
    "unknown format": (
        npz_described({"tensors": {"w": {"format": "float9"}}}, U8),
        "array 'w': it is described as {'format': 'float9'}",
    ),
    "format of another width": (
        npz_described({"tensors": {"w": {"format": "bfloat16"}}}, U8),
        "array 'w': codes of bfloat16 are uint16, not uint8",
    ),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_npz_that_is_none(case, tmp_path):
    content, said = BAD_NPZ[case]
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        rk.load(path)
    assert str(caught.value).startswith(f"{path} is no valid .npz file: ")
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_with_two_arrays_of_a_name(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(npz([("w.npy", npy(U8)), ("w.npy", npy(U8))]))
    with pytest.raises(ValueError, match="it holds 'w' twice"):
        rk.load(path)


def test_npz_arrays_that_are_none(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(npz_described({"tensors": {"w": {"format": "float4_e2m1fn"}}}, np.array([16], np.uint8)))
    with pytest.raises(
        ValueError, match=r"tensor 'w': 16 is no code of float4_e2m1fn, which lie between 0 and 15"
    ):
        rk.load(path)["w"]
    path.write_bytes(npz([("w.npy", npy(np.array([True])).replace(b"|b1", b"|b1")[:-1] + b"\7")]))
    with pytest.raises(ValueError, match="a bool is stored as the byte 7"):
        rk.load(path)["w"]
    content = npz([("w.npy", npy(U8))])
    path.write_bytes(content.replace(b"\1\2PK", b"\1\3PK"))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        rk.load(path)["w"]


def test_npz_of_numpy_is_read(tmp_path):
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "s": np.array(["a", "bc"]),
        "z": np.zeros((2, 0)),
    }
    for writer in (np.savez, np.savez_compressed):
        writer(tmp_path / "x.npz", **arrays)
        tensors = rk.load(tmp_path / "x.npz")
        for name, array in arrays.items():
            np.testing.assert_array_equal(tensors[name], array)
            assert tensors[name].flags.f_contiguous == array.flags.f_contiguous
    rk.save(tmp_path / "y.npz", {**arrays, "b": np.ones(2, rk.bfloat16)})
    with np.load(tmp_path / "y.npz") as theirs:
        np.testing.assert_array_equal(theirs["s"], arrays["s"])
        assert theirs["b"].tolist() == [0x3F80, 0x3F80]  # the codes
        assert json.loads(str(theirs["__ramekin__"])) == {"tensors": {"b": {"format": "bfloat16"}}}


# --- indices ---

BAD_INDEX = {
    "not JSON": (b"{", "is no valid index of a checkpoint: Expecting property name"),
    "not UTF-8": (b"\xff", "is no valid index"),
    "deep": (b"[" * 100_000, "is no valid index"),
    "no object": (b"[]", 'it has no "weight_map" from tensors to files'),
    "no map": (b'{"metadata": {}}', 'it has no "weight_map"'),
    "map no object": (b'{"weight_map": ["a"]}', 'it has no "weight_map"'),
    "two of a name": (b'{"weight_map": {"w": "a.safetensors", "w": "a.safetensors"}}', "'w' appears twice"),
    "number": (
        b'{"weight_map": {"w": 1}}',
        "'w' is in 1; accepted: the name of a .safetensors file beside it",
    ),
    "absent": (b'{"weight_map": {"w": "b.safetensors"}}', "names 'b.safetensors', which is not beside it"),
    "not held": (
        b'{"weight_map": {"v": "a.safetensors"}}',
        "says that 'a.safetensors' holds 'v', which it does not",
    ),
    "bad shard": (
        b'{"weight_map": {"v": "bad.safetensors"}}',
        "bad.safetensors is no valid safetensors file",
    ),
}
TRICKS = [
    "../a.safetensors",
    "/etc/passwd",
    "sub/a.safetensors",
    "..",
    "..\\a.safetensors",
    "C:a.safetensors",
]
TRICKS += ["a.safetensors\0", ".a.safetensors", "", "a.npz", "\n/a.safetensors"]
BAD_INDEX |= {
    repr(trick): (
        json.dumps({"weight_map": {"w": trick}}).encode(),
        f"'w' is in {trick!r}; accepted: the name",
    )
    for trick in TRICKS
}


@pytest.mark.parametrize("case", BAD_INDEX)
def test_indices_that_are_none(case, tmp_path):
    content, said = BAD_INDEX[case]
    inner = tmp_path / "model"
    inner.mkdir()
    for directory in (tmp_path, inner):
        rk.save(directory / "a.safetensors", {"w": [1.0]})
    (inner / "bad.safetensors").write_bytes(b"")
    (inner / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)):
        rk.load(inner)


def test_an_index_that_is_far_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr("ramekin.storage.sharded._LONGEST_INDEX", 10)
    (tmp_path / "model.safetensors.index.json").write_bytes(b'{"weight_map": {}}')
    with pytest.raises(ValueError, match="it has more than 10 bytes"):
        rk.load(tmp_path)


def test_paths_that_say_nothing(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"x.bin: accepted: \*.safetensors, \*.npz, \*.safetensors.index.json, or a"
    ):
        rk.load(tmp_path / "x.bin")
    with pytest.raises(ValueError, match=r"holds neither model.safetensors.index.json nor model.safetensors"):
        rk.load(tmp_path)
    for name in ("absent.safetensors", "absent.npz", "absent.safetensors.index.json"):
        with pytest.raises(FileNotFoundError):
            rk.load(tmp_path / name)
