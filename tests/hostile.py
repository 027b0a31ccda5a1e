"""Floating-point environments that other code may leave behind, for programs that tests run."""

from __future__ import annotations

import platform

import pytest

from conftest import run_python

# ldmxcsr [rdi]; ret, as machine code: no Python library sets the register.
SET_MXCSR = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("0fae17c3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
value = ctypes.c_uint32(0x1F80 | 0x8040 | 0x4000)
ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(value))
"""

needs_mxcsr = pytest.mark.skipif(platform.machine() != "x86_64", reason="sets an x86 register")


def assert_environment_does_not_show(program: str, switch: str = SET_MXCSR) -> None:
    """Compare the bytes that `run` of a program returns before and after a switch of the environment.

    The switch sets flush-to-zero, denormals-are-zero and upward rounding on the caller's thread, unless
    another is given; the program imports numpy as np.
    """
    done = run_python(f"""{program}
right = run()
{switch}
flushed = float(np.float32(1e-40) * np.float32(1.0)) == 0.0
print(flushed, run() == right)
""")
    assert done.stdout.split() == ["True", "True"], done.stdout + done.stderr
