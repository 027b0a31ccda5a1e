"""Judge what the package depends on: licences, sources and versions of Rust crates, known vulnerabilities.

``deny.toml`` holds the rules for crates; Python packages are those of the environment that this runs in. A
database that cannot be reached is a failure of its own (exit code 3, else 1): nothing is known then.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Return the exit code."""
    if shutil.which("cargo-deny") is None:
        sys.exit("cargo-deny is needed: cargo install --locked cargo-deny")
    bad: list[str] = []
    unknown: list[str] = []
    if not deny("check", "licenses", "bans", "sources"):
        bad.append("licences, versions or sources of Rust crates")
    if not deny("fetch", "db"):
        unknown.append("advisories on Rust crates: RustSec's database could not be fetched")
    elif not deny("check", "--disable-fetch", "advisories"):
        bad.append("advisories on Rust crates")
    python_packages(bad, unknown)
    lines = [f"NOT CHECKED: {text}" for text in unknown] + [f"FAILED: {text}" for text in bad]
    sys.stderr.write("".join(f"{line}\n" for line in lines or ["audit: nothing found"]))
    return 1 if bad else 3 if unknown else 0


def deny(*arguments: str) -> bool:
    """Run cargo-deny and tell whether it was content."""
    command = ["cargo", "deny", "--locked", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def python_packages(bad: list[str], unknown: list[str]) -> None:
    """Ask for the vulnerabilities of every package; add what is wrong to `bad`, or to `unknown`."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format", "json"]
        subprocess.run([*command, "--output", str(report)], check=False)
        if not report.exists():
            unknown.append("vulnerabilities of Python packages: the package index could not be asked")
            return
        packages = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    # A package that the index says nothing of is skipped without a word.
    silent = [p["name"] for p in packages if "editable" not in p.get("skip_reason", "editable")]
    if silent:
        unknown.append(f"vulnerabilities of {len(silent)} Python packages, {silent[0]} for one: no answer")
    for package in packages:
        bad.extend(f"{package['name']}: {found['id']}" for found in package.get("vulns", []))


if __name__ == "__main__":
    sys.exit(main())
