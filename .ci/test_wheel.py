"""Test the wheel in ``dist`` as a stranger would meet it: in a fresh environment, away from the source.

Nothing but the environment's own programs is on the path, so a compiler cannot help. Arguments go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Return pytest's exit code."""
    if not list((ROOT / "dist").glob("*.whl")):
        sys.exit("there is no wheel in dist; make wheel builds one")
    with tempfile.TemporaryDirectory(prefix="ramekin-wheel-") as name:
        place = Path(name)
        venv.create(place / "venv", with_pip=True, symlinks=os.name != "nt")
        programs = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if os.name != "nt":
            environment["PATH"] = str(programs)

        def python(*arguments: str) -> int:
            command = [str(programs / "python"), *arguments]
            return subprocess.run(command, cwd=place / "suite", env=environment, check=False).returncode

        suite = place / "suite"
        suite.mkdir()
        shutil.copytree(ROOT / "tests", suite / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", suite)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        # The wheel must come from dist and from nowhere else; what it depends on comes from the index.
        of_dist = ("--no-index", "--no-deps", "--find-links", str(ROOT / "dist"), "ramekin")
        return (
            python(*install, *of_dist)
            or python(*install, "--only-binary", ":all:", "ramekin[test]")
            or python("-m", "pytest", *sys.argv[1:])
        )


if __name__ == "__main__":
    sys.exit(main())
