"""The memory that products take beside operands and result."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import run_python

STATUS = Path("/proc/self/status")

# 64 MiB of codes on one side. The peak only grows: each product shows what it and those before took.
PEAKS = """
import re, numpy as np, ramekin as rk
rk.set_num_threads({threads})
def peak():
    # Not ru_maxrss, which a process inherits.
    return 1024 * int(re.search("VmHWM: *(.*) kB", open("/proc/self/status").read().expandtabs(1))[1])
def codes(*shape):
    memory = np.empty(shape, np.uint8)
    np.multiply.outer(*(np.arange(length, dtype=np.uint8) for length in shape), out=memory)
    return memory.view(rk.float8_e4m3fn)
large = codes(8192, 8192)
small = codes(8192, 64)
def quantised(memory, format, blocks, **options):
    # Scales of one.
    scales = np.full(blocks, 127 if "mx" in format else 1, np.uint8 if "mx" in format else np.float32)
    return rk.QuantizedArray.from_parts(memory, scales, format, **options)
fp4 = quantised(large.view(np.uint8), "mxfp4", (8192, 512))
mx8 = quantised(large, "mxfp8_e4m3", (8192, 256))
mx8_down = quantised(large, "mxfp8_e4m3", (256, 8192), axis=0)
tiled = quantised(large, "float8_e4m3fn", (64, 64), block=(128, 128))
out = np.zeros(1 << 23, np.float32)
out += 1
products = [
    (small.T[:8], large),       # few rows
    (small.T, large),           # more of them
    (small.T, large.T),
    (large, small),             # few columns
    (large, small[:, :8]),      # so few that rows and columns change places
    (small[:, 0], large),       # a vector
    (large, small[:, 0]),
    (large.reshape(16, 512, 8192), small),
    (fp4[:, :8192], small),     # packed
    (small.T, mx8_down),
    (mx8, small[:, 0]),         # a vector
    (small.T[:8], mx8_down),
    (small.T, tiled),           # tiles of k
    (tiled, small[:, 0]),
    (large.reshape(8192, 16, 512).swapaxes(0, 1), small.reshape(16, 512, 64)),
]
start = peak()
for a, b in products:
    shape = (*a.shape[:-1], *b.shape[-2:][1:])
    rk.matmul(a, b, out=out[: int(np.prod(shape))].reshape(shape))
    print(peak() - start)
rk.matmul(small.T[:8], rk.pack_matrix(large), out=out[: 8 * 8192].reshape(8, 8192))
print(peak() - start)
"""

# What a thread packs: of B 1024 columns by 1024 units of 4 bytes, 4 MiB; of A 96 rows of 1040 units, and a
# panel of 32 columns by 1024 units, 0.5 MiB. It makes at most 2**18 elements of a product, 1 MiB, aside.
THREAD = 6 << 20
# The vector of 8192 numbers, the threads' stacks, and what else happens in the interpreter.
REST = 3 << 19


@pytest.mark.skipif(
    not STATUS.exists() or "VmHWM" not in STATUS.read_text(), reason="asks Linux for the peak"
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_peak_is_within_the_bound(threads):
    done = run_python(PEAKS.format(threads=threads))
    *products, packed = map(int, done.stdout.split())
    assert len(products) == 15, done.stderr
    assert max(products) <= THREAD * threads + REST, products
    # The gauge works: a packed matrix is seen.
    assert packed >= 8192 * 8192 * 2
