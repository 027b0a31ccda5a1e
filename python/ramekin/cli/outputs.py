"""The files that a comparison leaves: JSON records, an HTML report, a plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ramekin import io
from ramekin.cli.errors import OutputError, UsageError
from ramekin.records import json_records
from ramekin.report import PAGES, PICTURES, Picture, Run, html_report, overview, picture_bytes

__all__ = ["WITHOUT_PLOT", "Outputs"]

_STDOUT = "-"
#: What to say where something is left out.
WITHOUT_PLOT = 'matplotlib is not installed, get it with: pip install "ramekin[plot]"'


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where to write what, as given on the command line; None is nowhere."""

    json: str | None
    report: str | None
    plot: str | None

    @property
    def takes_stdout(self) -> bool:
        """Whether the records go to stdout, where nothing else may go then."""
        return self.json == _STDOUT

    def files(self) -> dict[str, list[Path]]:
        """Return the files that each option asks for. A report has its first pictures beside it."""
        files: dict[str, list[Path]] = {}
        if self.json is not None and not self.takes_stdout:
            files["json"] = [Path(self.json)]
        if self.report is not None:
            files["report"] = [Path(self.report), Path(self.report).with_suffix(".png")]
        if self.plot is not None:
            files["plot"] = [Path(self.plot)]
        return files

    def check(self) -> None:
        """Find out before training whether everything can be written; UsageError if not."""
        for option, value, suffixes in (
            ("report", self.report, PAGES),
            ("plot", self.plot, PICTURES),
        ):
            if value is not None and Path(value).suffix.lower() not in suffixes:
                raise UsageError(f"argument --{option}: {value!r} must end in {' or '.join(suffixes)}")
        files = self.files()
        for option, paths in files.items():
            for path in paths:
                try:
                    io.check_writable(path)
                except OSError as error:
                    reason = error.strerror or error
                    raise UsageError(f"argument --{option}: cannot write {str(path)!r}: {reason}") from None
        if set(files.get("json", [])) & {*files.get("report", []), *files.get("plot", [])}:
            raise UsageError("argument --json: the same file is asked for by another option")

    def write(self, runs: Sequence[Run], titles: Mapping[str, str], settings: Mapping[str, str]) -> None:
        """Write everything that was asked for.

        Parameters
        ----------
        runs : sequence of Run
        titles : mapping of str to str
            A line per task, by its name: the report's tables, in this order.
        settings : mapping of str to str
            For the report.

        Raises
        ------
        OutputError
            If a file could not be written. Files are whole or absent.
        """
        records = json_records(run.record for run in runs)
        text = json.dumps(records, indent=2, allow_nan=False) + "\n"
        if self.takes_stdout:
            sys.stdout.write(text)
        files = self.files()
        contents: dict[Path, bytes] = dict.fromkeys(files.get("json", []), text.encode())
        pictures = [*files.get("report", []), *files.get("plot", [])]
        if "report" in files:
            page = pictures.pop(0)
            contents[page] = html_report(runs, "Precision compared", titles, settings).encode()
        if pictures:
            picture = overview(runs, titles)
            kinds = {path.suffix.lower(): None for path in pictures}
            drawn = {kind: _drawn(picture, kind) for kind in kinds}
            for path in pictures:
                data = drawn[path.suffix.lower()]
                if data is not None:
                    contents[path] = data
        for path, data in contents.items():
            try:
                io.write_bytes(path, data)
            except OSError as error:
                raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
            sys.stderr.write(f"wrote {path}\n")


def _drawn(picture: Picture, suffix: str) -> bytes | None:
    """Return a picture as a file, or None and one line on stderr if there is no matplotlib for it."""
    try:
        return picture_bytes(picture, suffix)
    except ImportError:
        sys.stderr.write(f"ramekin: left out the {suffix[1:].upper()}: {WITHOUT_PLOT}\n")
        return None
