"""`rk.load` and `rk.save`: bits, dtypes and layouts kept, judged by the safetensors library and by NumPy."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

import ramekin as rk

WITH_DTYPE = [fmt for fmt in rk.formats() if fmt.has_dtype]
NUMPY = [
    np.dtype(code) for code in ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]
]
SHAPES = [(4, 8), (3, 5), (2, 3, 4), (7,), (), (0,), (3, 0), (0, 5)]


def bits(array):
    """Bytes of an array in C order."""
    return np.asarray(array).tobytes()


def random_array(dtype, shape, seed=0):
    dtype = np.dtype(dtype)
    codes = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype == np.bool_:
        codes &= 1
    for fmt in WITH_DTYPE:
        if fmt.dtype == dtype and fmt.bits < 8:
            codes &= (1 << fmt.bits) - 1
    return codes.reshape(-1).view(dtype).reshape(shape)


def every_array():
    dtypes = [*NUMPY, *(fmt.dtype for fmt in WITH_DTYPE)]
    return {f"{dtype}.{shape}": random_array(dtype, shape) for dtype in dtypes for shape in SHAPES}


def same(got, expected):
    assert set(got) == set(expected)
    for name, array in expected.items():
        read = got[name]
        assert (read.dtype, read.shape) == (array.dtype, array.shape), name
        assert bits(read) == bits(array), name


def library_reads(path):
    """Name to dtype, shape and bytes, as the library reads them."""
    return {name: (t["dtype"], tuple(t["shape"]), bytes(t["data"]))
            for name, t in safetensors.deserialize(Path(path).read_bytes())}  # fmt: skip


# --- what is kept ---


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz"])
def test_every_dtype_and_shape_comes_back(name, tmp_path):
    arrays = every_array()
    rk.save(tmp_path / name, arrays)
    tensors = rk.load(str(tmp_path / name))
    same(tensors, arrays)
    for key, array in arrays.items():
        info = tensors.info(key)
        assert (info.dtype, info.shape, info.file) == (array.dtype, array.shape, tmp_path / name)
        assert not tensors[key].flags.writeable
    assert len(tensors) == len(arrays)
    assert "absent" not in tensors
    with pytest.raises(KeyError):
        tensors["absent"]


DTYPE_NAMES = {
    "bfloat16": "BF16", "float16": "F16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e4m3": "U8", "float8_e3m4": "U8", "float8_e4m3b11fnuz": "U8",
    "float6_e2m3fn": "F6_E2M3", "float6_e3m2fn": "F6_E3M2", "float4_e2m1fn": "F4",
}  # fmt: skip


@pytest.mark.parametrize("fmt", WITH_DTYPE, ids=str)
def test_the_library_reads_what_is_written(fmt, tmp_path):
    array = random_array(fmt.dtype, (4, 8))
    rk.save(tmp_path / "x.safetensors", {"w": array})
    dtype, shape, data = library_reads(tmp_path / "x.safetensors")["w"]
    assert (dtype, shape) == (DTYPE_NAMES[fmt.name], (4, 8))
    expected = bits(array)
    if fmt.bits < 8:  # low bits first: a sum of codes times powers of two, little-endian
        stream = sum(code << (fmt.bits * i) for i, code in enumerate(array.view(np.uint8).ravel().tolist()))
        expected = stream.to_bytes(32 * fmt.bits // 8, "little")
    assert data == expected


@pytest.mark.parametrize("dtype", NUMPY, ids=str)
def test_the_librarys_numpy_side_reads_and_writes_the_same(dtype, tmp_path):
    arrays = {str(shape): random_array(dtype, shape) for shape in SHAPES}
    rk.save(tmp_path / "ours.safetensors", arrays)
    same(safetensors.numpy.load_file(tmp_path / "ours.safetensors"), arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "theirs.safetensors")
    same(rk.load(tmp_path / "theirs.safetensors"), arrays)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("bfloat16", "bfloat16"), ("float8_e4m3fn", "float8_e4m3fn"), ("float8_e5m2", "float8_e5m2"),
        ("float8_e8m0fnu", "float8_e8m0fnu"), ("float8_e4m3fnuz", "float8_e4m3fnuz"),
        ("float8_e5m2fnuz", "float8_e5m2fnuz"), ("float4_e2m1fn_x2", "float4_e2m1fn"),
    ],
)  # fmt: skip
def test_what_the_library_writes_of_other_frameworks_is_read(theirs, ours, tmp_path):
    fmt = rk.as_format(ours)
    array = random_array(fmt.dtype, (3, 6))
    data = rk.pack(array, fmt) if fmt.bits < 8 else array.view(fmt.code_dtype)
    shape = (3, 6 * fmt.bits // 8) if fmt.bits < 8 else (3, 6)
    spec = safetensors.TensorSpec(dtype=theirs, shape=shape, data_ptr=data.ctypes.data, data_len=data.nbytes)
    safetensors.serialize_file({"w": spec}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    tensors = rk.load(tmp_path / "x.safetensors")
    same(tensors, {"w": array})
    assert tensors.metadata == {"format": "pt"}
    if fmt.bits == 8:  # which its own NumPy side refuses
        with pytest.raises(AttributeError):
            safetensors.numpy.load_file(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "shape", "stored"),
    [
        ("float4_e2m1fn", (3, 2), "F4"),
        ("float4_e2m1fn", (2, 3), "U8"),  # six codes, but a row fills no whole bytes, which PyTorch refuses
        ("float4_e2m1fn", (), "U8"),
        ("float6_e3m2fn", (5, 4), "F6_E3M2"),
        ("float6_e3m2fn", (4, 5), "U8"),
        ("float6_e2m3fn", (0,), "F6_E2M3"),
    ],
)
def test_packed_where_rows_fill_bytes(name, shape, stored, tmp_path):
    array = random_array(rk.as_format(name).dtype, shape)
    rk.save(tmp_path / "x.safetensors", {"w": array})
    tensors = rk.load(tmp_path / "x.safetensors")
    same(tensors, {"w": array})
    info = tensors.info("w")
    assert info.stored == stored
    assert info.nbytes == array.size * (8 if stored == "U8" else rk.as_format(name).bits) // 8


@given(
    array=hnp.arrays(
        st.sampled_from([np.dtype(code) for code in ("f4", ">f4", ">i2", "u1", "?", ">u8", "c8")]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    data=st.data(),
    suffix=st.sampled_from(["safetensors", "npz"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_layout(array, data, suffix, tmp_path):
    view = array.transpose(data.draw(st.permutations(range(array.ndim))))
    view = view[(..., *(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in range(view.ndim)))]
    rk.save(tmp_path / f"x.{suffix}", {"w": view})
    read = rk.load(tmp_path / f"x.{suffix}")["w"]
    assert read.shape == view.shape
    np.testing.assert_array_equal(read, view)
    assert suffix == "npz" or read.dtype == view.dtype.newbyteorder("=")


def test_lists_numbers_and_what_was_loaded_can_be_saved(tmp_path):
    path = tmp_path / "x.safetensors"
    rk.save(path, {"list": [1.5, 2.5], "number": 3, "bf16": ml_dtypes.bfloat16(2)}, metadata={"by": "ä"})
    tensors = rk.load(path)
    assert (tensors["list"].dtype, tensors["number"].dtype) == (np.float64, np.int64)
    before = {name: array.copy() for name, array in tensors.items()}
    rk.save(path, tensors, metadata=tensors.metadata)  # over the file that is mapped
    same(tensors, before)
    same(rk.load(path), before)
    assert rk.load(path).metadata == {"by": "ä"}


def test_names_are_any_text(tmp_path):
    arrays = {
        name: np.array([number])
        for number, name in enumerate(["", "a/b", "ü.w", 'q"\\', "a b", "x.npy", "\n"])
    }
    for file in ("x.safetensors", "x.npz"):
        rk.save(tmp_path / file, arrays)
        same(rk.load(tmp_path / file), arrays)


def test_an_empty_file_of_tensors(tmp_path):
    for file in ("x.safetensors", "x.npz"):
        rk.save(tmp_path / file, {})
        assert dict(rk.load(tmp_path / file)) == {}


def test_repr_tells_the_size(tmp_path):
    rk.save(tmp_path / "x.safetensors", {"a": np.zeros(1000, np.float32), "b": np.zeros(8, rk.float4_e2m1fn)})
    tensors = rk.load(tmp_path / "x.safetensors")
    assert repr(tensors) == f"<Tensors of {str(tmp_path / 'x.safetensors')!r}: 2 tensors, 4,004 bytes>"


# --- mapped, not copied ---


def test_arrays_lie_in_the_mapped_file(tmp_path):
    path = tmp_path / "x.safetensors"
    rk.save(path, {"w": np.zeros((8, 16), rk.bfloat16), "v": np.zeros(3, rk.float8_e3m4)})
    tensors = rk.load(path)
    for name in tensors:
        array = tensors[name]
        assert np.shares_memory(array.view(np.uint8), tensors[name].view(np.uint8))
        while isinstance(array, np.ndarray):
            array = array.base
        assert isinstance(array.obj, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        tensors["w"][0, 0] = 1


def test_tensors_are_aligned_whatever_their_order(tmp_path):
    arrays = {
        f"{position}{dtype}": random_array(dtype, (3,))
        for position, dtype in enumerate(["?", "f8", "i2", "f4"])
    }
    rk.save(tmp_path / "x.safetensors", arrays)
    tensors = rk.load(tmp_path / "x.safetensors")
    assert all(tensors[name].flags.aligned for name in tensors)
    assert [tensors[name].itemsize for name in tensors] == [8, 4, 2, 1]  # in the order of the file


def test_opening_takes_no_memory_for_tensors(tmp_path):
    # Eight GiB, of which the file system stores nothing.
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**31], "data_offsets": [0, 2**33]}}).encode()
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**33)
    code = f"""
import resource
import ramekin as rk
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))  # private memory; that of a mapped file is not
w = rk.load({str(path)!r})["w"]
print(w.shape, float(w[-1]), float(w[12345]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "(2147483648,) 0.0 0.0\n", done.stderr


# --- whole or not at all ---


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz"])
def test_failure_leaves_the_old_file_and_nothing_else(name, tmp_path, monkeypatch):
    path = tmp_path / name
    rk.save(path, {"w": np.arange(3)})
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk is gone"):
            rk.save(path, {"w": np.arange(9)})
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_kill_leaves_no_half_checkpoint(tmp_path):
    code = f"""
import numpy as np, ramekin as rk
from ramekin.storage import sharded
write = sharded.write_safetensors
def announced(*arguments):
    write(*arguments)
    print("shard", flush=True)
    input()
sharded.write_safetensors = announced
rk.save({str(tmp_path / "model")!r}, {{str(i): np.zeros(100) for i in range(3)}}, max_shard_size=1000)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "shard\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "shard\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list((tmp_path / "model").iterdir())) == 2
    with pytest.raises(ValueError, match=r"holds neither model.safetensors.index.json nor model.safetensors"):
        rk.load(tmp_path / "model")
    rk.save(tmp_path / "model", {str(i): np.ones(100) for i in range(3)}, max_shard_size=1000)
    assert all((array == 1).all() for array in rk.load(tmp_path / "model").values())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_written_through(tmp_path):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    rk.save(pipe, {"w": np.arange(3)})
    reader.join(10)
    assert dict(safetensors.numpy.load(received[0]))["w"].tolist() == [0, 1, 2]


# --- checkpoints in several files ---


def test_shards_and_their_index(tmp_path):
    directory = tmp_path / "model"
    arrays = {f"layer.{i}": random_array("f4", (10,), i) for i in range(5)}
    arrays |= {
        "bf16": random_array(rk.bfloat16.dtype, (50,)),
        "e3m4": random_array(rk.float8_e3m4.dtype, (3,)),
    }
    rk.save(directory, arrays, metadata={"format": "pt"}, max_shard_size=90)
    names = [f"model-0000{i}-of-00005.safetensors" for i in range(1, 6)]
    assert sorted(entry.name for entry in directory.iterdir()) == [*names, "model.safetensors.index.json"]
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 303}
    assert list(index["weight_map"]) == sorted(arrays)
    for path in (directory, directory / "model.safetensors.index.json"):
        tensors = rk.load(path)
        same(tensors, arrays)
        assert tensors.metadata == {"format": "pt"}
    assert tensors.info("layer.2").file.name == names[1]
    assert tensors.info("bf16").file.name == names[3]  # larger than a shard may be
    # Each file stands by itself.
    assert rk.load(directory / names[4])["e3m4"].dtype == rk.float8_e3m4.dtype


def test_one_shard_needs_no_index(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    rk.save(tmp_path, {"w": np.arange(4)}, max_shard_size=10**9)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert rk.load(tmp_path)["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(FileExistsError, match="holds a checkpoint already"):
        rk.save(tmp_path, {"w": np.arange(4)}, max_shard_size=1)


def test_the_index_decides_and_links_may_lead_elsewhere(tmp_path):
    # As in the cache of huggingface_hub, whose snapshots are links to blobs.
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    snapshot.mkdir()
    blobs.mkdir()
    for number in (1, 2):
        rk.save(blobs / f"{number}.safetensors", {"w": np.array([number]), f"only{number}": np.array([0])},
                metadata={"n": str(number), f"m{number}": ""})  # fmt: skip
        (snapshot / f"{number}.safetensors").symlink_to(blobs / f"{number}.safetensors")
    index = {"weight_map": {"w": "2.safetensors", "only1": "1.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    tensors = rk.load(snapshot)
    assert list(tensors) == ["w", "only1"]
    assert tensors["w"].tolist() == [2]
    assert tensors.metadata == {"n": "2", "m1": "", "m2": ""}


# --- what cannot be saved ---


NONAME = "cannot be the name of an array"
NOT_SAVED = [
    (
        "x.bin",
        {},
        {},
        ValueError,
        "x.bin: accepted: *.safetensors, *.npz, or with max_shard_size a directory",
    ),
    ("x", {}, {}, ValueError, "x: accepted: *.safetensors"),
    ("x.npz", {}, {"max_shard_size": 5}, ValueError, "a directory is written, not a .npz file"),
    ("x.safetensors", {}, {"max_shard_size": 5}, ValueError, "not a .safetensors file"),
    ("x", {}, {"max_shard_size": 0}, ValueError, "max_shard_size is 0; accepted: 1 or more bytes"),
    ("x", {}, {"max_shard_size": 1.5}, TypeError, "'float' object cannot be interpreted as an integer"),
    ("x.npz", {}, {"metadata": {"a": "b"}}, ValueError, "a .npz file holds no metadata"),
    ("x.safetensors", {1: [1]}, {}, TypeError, "the name of an array is text, not 1"),
    ("x.safetensors", {"\ud800": [1]}, {}, ValueError, "the name of an array is valid Unicode"),
    (
        "x.safetensors",
        {"__metadata__": [1]},
        {},
        ValueError,
        f"'__metadata__' {NONAME} in a safetensors file",
    ),
    ("x.npz", {"__ramekin__": [1]}, {}, ValueError, f"'__ramekin__' {NONAME} in a .npz file"),
    ("x.npz", {"a\0b": [1]}, {}, ValueError, f"'a\\x00b' {NONAME}"),
    ("x.safetensors", {}, {"metadata": {"a": 1}}, TypeError, "metadata 'a' is text, not 1"),
    ("x.safetensors", {}, {"metadata": {1: "a"}}, TypeError, "a key of metadata is text, not 1"),
    ("x.safetensors", {}, {"metadata": {"ramekin": ""}}, ValueError, "'ramekin' is where the formats"),
    (
        "x.safetensors",
        {"w": ["a"]},
        {},
        TypeError,
        "array 'w': dtype <U1 cannot be stored; accepted: bool, uint8",
    ),
    ("x.safetensors", {"w": np.ones(2, np.complex128)}, {}, TypeError, "dtype complex128 cannot be stored"),
    ("x.safetensors", {"w": np.ones(2, ml_dtypes.int4)}, {}, TypeError, "dtype int4 cannot be stored"),
    ("x.safetensors", {"w": np.array([None])}, {}, TypeError, "dtype object cannot be stored"),
    ("x.npz", {"w": np.array([None])}, {}, TypeError, "array 'w': dtype object cannot be stored in a .npz"),
    ("x.npz", {"w": np.ones(2, ml_dtypes.int4)}, {}, TypeError, "array 'w': dtype int4 cannot be stored in"),
    ("missing/x.safetensors", {}, {}, FileNotFoundError, "missing"),
]


@pytest.mark.parametrize(("file", "arrays", "options", "error", "said"), NOT_SAVED)
def test_not_saved(file, arrays, options, error, said, tmp_path):
    with pytest.raises(error) as caught:
        rk.save(tmp_path / file, arrays, **options)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []
