"""Runs the examples of a page: ``python tests/examples.py page.md``, in an empty directory.

The blocks of a page run from top to bottom as one session, in Python or in a shell, as a reader would type
them. What a ``print`` gives stands behind it as a comment, or in the comment lines that follow it. Comments
of Markdown say what is not shown:

- ``<!-- example: setup`` and lines of Python up to ``-->``: run before what follows
- ``<!-- example: parsed -->``: the next block takes too long, or needs what the reader has; it is
  compiled, or parsed by the command's own parser, and not run
- ``<!-- example: fails -->``: the commands of the next block end with another exit code than 0
- ``<!-- example: output -->``: the next block is what the commands of the one before print, errors included

Other commands than ``ramekin`` are looked up: targets of ``make``, scripts and their options, extras of
``pip``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent

# What an example may import beyond the dependencies of the package; it is left out where they are missing.
OPTIONAL = frozenset({"dask", "jax", "matplotlib", "mpi4py", "threadpoolctl", "torch", "xarray"})

_COMMENT = re.compile(r"<!-- example: (setup|parsed|fails|output)\b(.*?)-->", re.DOTALL)


class WrongExampleError(Exception):
    """An example is not as the page says."""


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `mark` is what a comment before it says."""

    line: int
    language: str
    code: str
    mark: str = ""


def blocks_of(text: str) -> Iterator[Block]:
    """Yield a page's blocks of code, hidden ones included."""
    mark = ""
    for token in MarkdownIt().parse(text):
        if token.type == "html_block" and token.map is not None:
            comment = _COMMENT.match(token.content)
            if comment and comment[1] == "setup":
                yield Block(token.map[0] + 1, "python", comment[2].removeprefix("\n"))
            elif comment:
                mark = comment[1]
            elif "example:" in token.content:
                raise WrongExampleError(f"line {token.map[0] + 1}: not understood: {token.content.strip()}")
        elif token.type == "fence" and token.map is not None:
            yield Block(token.map[0] + 1, token.info.split(" ")[0], token.content, mark)
            mark = ""


def expected_output(code: str) -> list[str]:
    """Return what the comments behind and after a block's prints say; an error where they say nothing."""
    comments = {
        token.start[0]: (token.string[1:].removeprefix(" "), not token.line[: token.start[1]].strip())
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    }
    expected: list[str] = []
    prints = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    for call in sorted(prints, key=lambda node: node.lineno):
        line = call.end_lineno or call.lineno
        if line in comments:
            expected.append(comments[line][0])
            continue
        lines = []
        while comments.get(line + 1, ("", False))[1]:
            line += 1
            lines.append(comments[line][0])
        if not lines:
            raise WrongExampleError(f"line {call.lineno} of the block does not say what it prints")
        expected += lines
    return expected


def commands_of(block: Block) -> list[list[str]]:
    """Return the words of each command of a shell block."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def check_command(words: list[str]) -> None:
    """Try a command without running it."""
    words = list(words)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        del words[0]
    if words[0] == "mpiexec":
        words = words[next(at for at, word in enumerate(words) if word in ("ramekin", "python")) :]
    program, *arguments = words
    if program == "python" and arguments[:2] == ["-m", "ramekin"]:
        program, arguments = "ramekin", arguments[2:]
    if program == "ramekin":
        from ramekin.cli.main import _parser

        # --version and --help print and leave.
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            _parser().parse_args(arguments)
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        known(arguments[0], targets, "target of make")
    elif program == "pip":
        extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
        for wanted in re.findall(r"\[([\w,]+)\]", arguments[-1]):
            for extra in wanted.split(","):
                known(extra, extras, "extra")
    elif program == "python":
        script = (ROOT / arguments[0]).read_text("utf-8")
        for option in (word.partition("=")[0] for word in arguments if word.startswith("--")):
            known(option, re.findall(r"--[\w-]+", script), f"option of {arguments[0]}")
    elif program not in ("cargo", "cd"):
        raise WrongExampleError(f"unknown command: {program}")


def known(name: str, names: list[str], what: str) -> None:
    """Refuse a name that is not among those there are."""
    if name not in names:
        raise WrongExampleError(f"no {what}: {name}")


def is_missing(module: str) -> bool:
    """Tell whether a module that examples may do without is not there."""
    return module in OPTIONAL and importlib.util.find_spec(module) is None


def run_python(block: Block, page: Path, names: dict[str, object]) -> None:
    """Run a block and compare what it prints."""
    tree = ast.parse(block.code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [
        name.partition(".")[0]
        for node in imports
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    ]
    if any(map(is_missing, modules)):
        return
    # Line numbers of errors are those of the page.
    program = compile("\n" * block.line + block.code, page, "exec")
    if block.mark == "parsed":
        return
    expected = expected_output(block.code)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, names)
    same(expected, printed.getvalue())


def run_shell(block: Block) -> str:
    """Run the commands of a block that are ours, check the others, and return what they print."""
    printed = ""
    for words in commands_of(block):
        check_command(words)
        if words[0] == "ramekin" and block.mark != "parsed":
            done = subprocess.run(
                [sys.executable, "-m", *words],
                env={**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            if bool(done.returncode) != (block.mark == "fails"):
                raise WrongExampleError(f"{shlex.join(words)}: exit code {done.returncode}: {done.stderr}")
            printed += done.stdout + done.stderr
    return printed


def same(expected: list[str], printed: str) -> None:
    """Refuse output that is not as the page has it, but for spaces at the ends of lines."""
    lines = [line.rstrip() for line in printed.splitlines()]
    if lines != expected:
        raise WrongExampleError("\n".join(["expected:", *expected, "printed:", *lines]))


def run_page(page: Path) -> None:
    """Run all examples of a page in the present directory."""
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for block in blocks_of(page.read_text("utf-8")):
        try:
            if block.mark == "output":
                same([line.rstrip() for line in block.code.strip("\n").splitlines()], printed.strip("\n"))
            elif block.language == "python":
                run_python(block, page, names)
            elif block.language == "sh":
                printed = run_shell(block)
        except WrongExampleError as error:
            raise WrongExampleError(f"{page.name}, line {block.line}: {error}") from None


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
