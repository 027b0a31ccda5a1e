"""`rk.analyze` and ``ramekin analyze``: exponents, candidates, pages, and what is refused."""

from __future__ import annotations

import html
import html.parser
import json
import math
import os
import re
from collections import Counter
from functools import partial

import ml_dtypes
import numpy as np
import pytest

import ramekin as rk
from commands import lines, run_command
from ramekin.cli.main import main
from ramekin.storage.npy import read_npy

X = np.random.default_rng(5).standard_normal((24, 40)).astype(np.float32)


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
def test_exponents_are_counted(dtype):
    x = (X * np.exp2(np.arange(40) - 20)).astype(dtype)
    x[0, :5] = [0, -0.0, np.inf, -np.inf, np.nan]
    found = rk.analyze(x, [])
    values = [float(value) for value in x.ravel()]
    finite = [abs(value) for value in values if math.isfinite(value) and value]
    expected = Counter(math.frexp(value)[1] - 1 for value in finite)
    histogram = found.histogram
    counts = {histogram.first + i: n for i, n in enumerate(histogram.counts) if n}
    assert counts == expected
    assert histogram.counts[0] > 0 < histogram.counts[-1]
    zeros = sum(value == 0 for value in values)
    assert (histogram.zeros, histogram.infinities, histogram.nans) == (
        zeros, sum(map(math.isinf, values)), sum(map(math.isnan, values))
    )  # fmt: skip
    assert (found.smallest, found.largest) == (min(finite), max(finite))
    assert (found.shape, found.size, found.nbytes, found.candidates) == ((24, 40), 960, x.nbytes, [])


def test_smallest_subnormal_and_largest_number():
    found = rk.analyze(np.array([5e-324, np.finfo(np.float64).max]), [])
    assert found.histogram.first == -1074
    assert len(found.histogram.counts) == 1024 + 1074
    assert (found.smallest, found.largest) == (5e-324, np.finfo(np.float64).max)


@pytest.mark.parametrize(
    "x", [np.zeros((0, 3), np.float32), np.zeros(3), np.array([np.nan, np.inf])], ids=str
)
def test_nothing_to_count(x):
    found = rk.analyze(x)
    assert found.histogram.counts == ()
    assert math.isnan(found.largest)
    assert found.candidates
    json.dumps(found.to_json(), allow_nan=False)


CANDIDATES = {
    "bfloat16": lambda x: rk.cast(x, "bfloat16"),
    "float4_e2m1fn": lambda x: rk.cast(x, "float4_e2m1fn"),
    "float8_e4m3fn:tensor": lambda x: rk.quantize(x, "float8_e4m3fn"),
    "float8_e4m3fn:row": lambda x: rk.quantize(x, "float8_e4m3fn", axis=-1),
    "float8_e5m2:column": lambda x: rk.quantize(x, "float8_e5m2", axis=-2),
    "float8_e5m2:block:8": lambda x: rk.quantize(x, "float8_e5m2", block=8),
    "mxfp6_e2m3": lambda x: rk.quantize(x, "mxfp6_e2m3"),
    "nvfp4:tile:4x16": lambda x: rk.quantize(x, "nvfp4", block=(4, 16)),
}


def test_candidates_are_measured():
    found = rk.analyze(X, list(CANDIDATES), name="w")
    assert (found.name, found.dtype) == ("w", "float32")
    for candidate, (name, convert) in zip(found.candidates, CANDIDATES.items(), strict=True):
        y = convert(X)
        expected = rk.error_stats(X, y)
        assert str(candidate.rule).startswith(name.split(":")[0])
        for key in ("size", "max_abs", "max_rel", "overflow", "underflow", "nonfinite"):
            assert getattr(candidate.stats, key) == getattr(expected, key), (name, key)
        assert np.isclose(candidate.stats.sqnr_db, expected.sqnr_db, rtol=1e-9)
        assert candidate.nbytes == (480 if name == "float4_e2m1fn" else y.nbytes)


def test_overflow_to_nan_is_counted():
    (candidate,) = rk.analyze(np.float32([1, 1000, np.nan]), ["float8_e4m3fn"]).candidates
    assert (candidate.lost, candidate.stats.overflow, candidate.stats.nonfinite) == (1, 0, 2)


def test_too_few_dimensions_leave_candidates_out():
    found = rk.analyze(X[0], ["nvfp4:tile:16x16", "float16", "float8_e5m2:column"])
    assert [str(candidate.rule) for candidate in found.candidates] == ["float16"]


def test_quantised_arrays():
    q = rk.quantize(X, "mxfp4")
    found = rk.analyze(q, ["mxfp8_e4m3", "float8_e4m3fn"])
    assert (found.dtype, found.nbytes) == ("mxfp4", q.nbytes)
    assert found.candidates[0].stats.max_abs == 0


def test_what_is_refused():
    with pytest.raises(TypeError, match="analyze: x is int64; accepted: real floats"):
        rk.analyze(np.arange(3))
    with pytest.raises(TypeError, match="complex"):
        rk.analyze(np.ones(3, complex))
    with pytest.raises(ValueError, match="unknown format 'fp9'"):
        rk.analyze(X, ["fp9"])
    with pytest.raises(ValueError, match="unknown scaling 'rows'; accepted: none, tensor"):
        rk.analyze(X, ["float8_e4m3fn:rows"])


# --- the command ---


run = partial(run_command, "analyze")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    w = np.array([[1.0, 0.5, -0.3, 1e-9], [3.0, 500.0, 0.0, 2.0]], np.float32)
    rk.save("in.safetensors", {"w": w, "<i>": rk.cast([1.5, np.nan], "bfloat16"), "n": np.arange(2)})
    return tmp_path


GOLDEN = """\
w
float32, 2 x 4, 32 bytes; magnitudes from 1e-09 to 500; zeros: 1
                        SQNR  largest   largest   over-  under-
 format         bytes     dB    error  relative  flow %  flow %
 ──────────────────────────────────────────────────────────────
 float8_e4m3fn      8   -inf      inf       inf    12.5    12.5
 mxfp8_e4m3        10  19.66       52         1    12.5    12.5
<i>
bfloat16, 2, 4 bytes; magnitudes from 1.5 to 1.5; NaNs: 1
                        SQNR  largest   largest   over-  under-
 format         bytes     dB    error  relative  flow %  flow %
 ──────────────────────────────────────────────────────────────
 float8_e4m3fn      2  exact        0         0       0       0
 mxfp8_e4m3         3   -inf      inf       inf      50       0
not floats: n
"""


def test_golden_output(source):
    done = run("in.safetensors", "--formats", "float8_e4m3fn,mxfp8_e4m3")
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout) == GOLDEN.splitlines()
    assert (
        run("in.safetensors", "--formats", "float8_e4m3fn", "mxfp8_e4m3", COLUMNS="20").stdout == done.stdout
    )
    assert "\x1b" not in done.stdout


def test_json(source):
    done = run("in.safetensors", "--json", "-", "--formats", "float8_e4m3fn", "mxfp4")
    assert "float8_e4m3fn" in done.stderr
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    assert set(document) == {"file", "tensors", "skipped"}
    assert document["skipped"] == ["n"]
    by_name = {tensor["name"]: tensor for tensor in document["tensors"]}
    assert set(by_name) == {"w", "<i>"}
    w = by_name["w"]
    assert w["histogram"]["first"] == -30
    assert w["histogram"]["counts"][28:] == [1, 1, 1, 2, 0, 0, 0, 0, 0, 0, 1]
    assert w["histogram"]["zeros"] == 1
    assert by_name["<i>"]["histogram"]["nans"] == 1
    plain = w["candidates"][0]
    assert (plain["format"], plain["scaling"], plain["nbytes"], plain["lost"]) == (
        "float8_e4m3fn",
        "none",
        8,
        1,
    )
    assert set(plain["stats"]) == set(rk.ErrorStats.__dataclass_fields__)


NUMBER = (int, float)
TENSOR_SCHEMA = {
    "name": str, "dtype": str, "shape": list, "size": int, "nbytes": int, "smallest": (*NUMBER, type(None)),
    "largest": (*NUMBER, type(None)), "histogram": dict, "candidates": list,
}  # fmt: skip
HISTOGRAM_SCHEMA = {"first": int, "counts": list, "zeros": int, "infinities": int, "nans": int}
CANDIDATE_SCHEMA = {
    "format": str, "scaling": str, "rounding": str, "scale_rounding": (str, type(None)), "saturate": bool,
    "seed": (int, type(None)), "nbytes": int, "stats": dict, "lost": int,
}  # fmt: skip
# What JSON has no number for is text.
STATS_SCHEMA = {
    field: int if field in ("size", "overflow", "underflow", "nonfinite") else (*NUMBER, str)
    for field in rk.ErrorStats.__dataclass_fields__
}


def conforms(document, schema):
    assert set(document) == set(schema)
    for key, kind in schema.items():
        assert isinstance(document[key], kind), key


def test_json_has_a_schema(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = {
        "nan": np.full((2, 32), np.nan, np.float32),
        "inf": np.array([np.inf, 1.0]),
        "empty": np.zeros((0, 4)),
        "scalar": np.float16(2),
        "zeros": np.zeros(3, np.float32),
        "wide": np.array([5e-324, 1.7e308]),
        "n": [1],
        "q": rk.quantize(np.ones((2, 32)), "nvfp4"),
    }
    rk.save("a.safetensors", tensors)
    assert main(["analyze", "a.safetensors", "--json", "a.json"]) == 0
    document = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    conforms(document, {"file": str, "tensors": list, "skipped": list})
    assert {tensor["name"] for tensor in document["tensors"]} == set(tensors) - {"n"}
    for tensor in document["tensors"]:
        conforms(tensor, TENSOR_SCHEMA)
        conforms(tensor["histogram"], HISTOGRAM_SCHEMA)
        assert all(isinstance(n, int) and n >= 0 for n in tensor["histogram"]["counts"])
        histogram = tensor["histogram"]
        counted = sum(histogram["counts"]) + histogram["zeros"] + histogram["infinities"] + histogram["nans"]
        assert counted == tensor["size"] == math.prod(tensor["shape"])
        for candidate in tensor["candidates"]:
            conforms(candidate, CANDIDATE_SCHEMA)
            conforms(candidate["stats"], STATS_SCHEMA)
            texts = [value for value in candidate["stats"].values() if isinstance(value, str)]
            assert set(texts) <= {"nan", "inf", "-inf"}


class Page(html.parser.HTMLParser):
    """Checks that what is opened is closed, and that nothing is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.tags = [], [], Counter()
        self.links, self.targets = [], []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        assert not {"src", "onload"} & {name for name, _ in attributes}
        self.targets += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name == "href"]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        while self.open[-1] in ("br", "wbr"):
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page(source):
    assert main(["analyze", "in.safetensors", "--report", "a.html"]) == 0
    text = (source / "a.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert "<i>" in page.texts
    assert page.tags["svg"] == 2
    assert page.tags["i"] == 0
    assert page.links == [f"#{target}" for target in page.targets] == ["#t0", "#t1"]
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"https?://|url\(", text)
    # One bar for each exponent that occurs, one line for the axis and up to two for each candidate.
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert drawing.count("<rect") == 6
    assert 1 + 12 <= drawing.count("<line") <= 1 + 24
    for number in re.findall(r' (?:x|y|x1|x2|y1|y2|width|height)="(-?[\d.]+)"', drawing):
        assert 0 <= float(number) <= 830


def table(text, number):
    """The rows of a table of a page, as lists of texts, and those of them that are marked."""
    body = text.split("<table")[number + 1].split("</table>")[0].split("<tbody>")[1]
    rows = re.findall(r"<tr[^>]*>.*?</tr>", body, re.DOTALL)
    texts = [[html.unescape(re.sub("<[^>]*>", "", cell)) for cell in row.split("</td>")[:-1]] for row in rows]
    return texts, [cells for cells, row in zip(texts, rows, strict=True) if "lost" in row]


def test_the_page_sums_up(source):
    formats = ["bfloat16", "float8_e4m3fn", "float8_e4m3fn:column", "mxfp8_e4m3"]
    assert main(["analyze", "in.safetensors", "--report", "a.html", "--formats", *formats]) == 0
    text = (source / "a.html").read_text("utf-8")
    rows, marked = table(text, 0)
    assert rows == [
        ["w", "float32", "2 x 4", "32", "116.12", "-inf", "82.48", "19.66"],
        ["<i>", "bfloat16", "2", "4", "exact", "exact", "-", "-inf"],
        ["bytes in all", "", "", "36", "20", "10", "28", "13"],
    ]
    assert marked == rows[:2]
    assert [row[0] for row in table(text, 1)[1]] == ["float8_e4m3fn"]
    assert [row[:3] for row in table(text, 2)[1]] == [["mxfp8_e4m3", "3", "-inf"]]


def test_pages_of_one_tensor_and_of_none(source):
    np.save("x.npy", X)
    assert main(["analyze", "x.npy", "--report", "a.html", "--formats", "bfloat16"]) == 0
    assert (source / "a.html").read_text("utf-8").count("<table") == 1
    np.save("n.npy", np.arange(3))
    assert main(["analyze", "n.npy", "--report", "a.html"]) == 0
    text = (source / "a.html").read_text("utf-8")
    assert "<p>Not floats: n</p>" in text
    assert "<table" not in text
    rk.save("none.safetensors", {})
    assert main(["analyze", "none.safetensors", "--report", "a.html"]) == 0
    assert "<p>There are no tensors.</p>" in (source / "a.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "sharded", "q.safetensors"])
def test_files_of_all_kinds(name, source):
    if name == "x.npy":
        np.save(name, X)
    else:
        rk.save(name, {"x": X if name != "q.safetensors" else rk.quantize(X, "mxfp4")},
                max_shard_size=10**6 if name == "sharded" else None)  # fmt: skip
    assert main(["analyze", name, "--json", "a.json", "--formats", "bfloat16"]) == 0
    (tensor,) = json.loads((source / "a.json").read_text())["tensors"]
    assert (tensor["name"], tensor["shape"]) == ("x", [24, 40])


def test_names_of_any_kind(source):
    rk.save("a.safetensors", {"\x1b[31mred\n☃": X, "\x1b": np.arange(3)})
    done = run("a.safetensors", "--formats", "mxfp4", "--report", "a.html", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "wrote a.html\n")
    assert done.stdout.startswith("\\x1b[31mred\\n\\u2603\n")
    assert done.stdout.endswith("not floats: \\x1b\n")


def npy(shape="(2,)", descr="'<f4'", data=b"\0" * 8, version=1):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 * version, "little") + text + data


BAD_NPY = {
    "empty": (b"", ""),
    "pickle": (b"\x80\x04]\x94K\x01a.", "the magic string is not correct"),
    "version": (npy(version=3), "it is of version (3, 0); accepted: (1, 0) and (2, 0)"),
    "truncated": (npy(data=b"\0" * 7), "float32 of shape (2,) takes 8 bytes, not 7"),
    "truncated header": (npy()[:30], "EOF: reading array header"),
    "huge": (npy("(1 << 40,)".replace("1 << 40", str(1 << 40))), "takes 4398046511104 bytes, not 8"),
    "negative": (npy("(-2, -1)"), "shape (-2, -1) has a negative size"),
    "long header": (
        b"\x93NUMPY\2\0\xff\xff\xff\xff{",
        "its header has 4,294,967,295 bytes; accepted: up to 10,000",
    ),
    "objects": (npy(descr="'|O'"), "it holds Python objects, which could run code when read"),
    "code": (npy("__import__('os').abort()"), "malformed node or string"),
}


@pytest.mark.parametrize("case", BAD_NPY)
def test_npy_that_is_none(case, source, capsys):
    content, said = BAD_NPY[case]
    (source / "x.npy").write_bytes(content)
    assert main(["analyze", "x.npy"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ramekin: error: x.npy is no valid .npy file: ")
    assert said in line


@pytest.mark.parametrize(
    "x",
    [np.asfortranarray(X), X.astype(">f8"), np.float16(3.5), np.zeros((0, 3)), X[:, ::2], np.ones((2, 1, 3))],
    ids=["Fortran", "big-endian", "scalar", "empty", "strided", "3-d"],
)
def test_npy_of_numpy_is_read(x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    found = read_npy(tmp_path / "x.npy")
    assert (found.dtype, found.shape, found.flags.writeable) == (x.dtype, x.shape, found.size == 0)
    assert np.array_equal(found, x)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "model.safetensors.index.json"])
def test_pipes_are_not_waited_for(name, source, capsys):
    os.mkfifo(name)
    assert main(["analyze", name]) == 2
    assert capsys.readouterr().err == f"ramekin: error: {name} is no regular file\n"


def test_integers_alone(source, capsys):
    np.save("n.npy", np.arange(3))
    assert main(["analyze", "n.npy"]) == 0
    assert capsys.readouterr().out == "not floats: n\n"


REFUSED = {
    "absent": (["absent.safetensors"], "cannot read 'absent.safetensors': No such file"),
    "format": (["in.safetensors", "--formats", "fp9"], "argument --formats: convert: unknown format 'fp9'"),
    "no format": (["in.safetensors", "--formats", ","], "argument --formats: expected at least one name"),
    "report": (["in.safetensors", "--report", "absent/x"], "argument --report: cannot write 'absent/x'"),
    "json": (["in.safetensors", "--json", "absent/x"], "argument --json: cannot write 'absent/x'"),
    "input": (
        ["in.safetensors", "--json", "./in.safetensors"],
        "argument --json: './in.safetensors' is the file that FILE names",
    ),
    "twice": (
        ["in.safetensors", "--json", "a.html", "--report", "a.html"],
        "argument --report: 'a.html' is the file that --json names",
    ),
    "kind": (["x.txt"], "x.txt: accepted: *.safetensors"),
    "npy": (["broken.npy"], "broken.npy is no valid .npy file: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_line_and_exit_code_2(case, source, capsys):
    options, said = REFUSED[case]
    (source / "broken.npy").write_bytes(b"")
    assert main(["analyze", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"ramekin: error: {said}")
