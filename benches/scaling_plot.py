"""The picture of ``scaling.py``: step times and efficiency by ranks, link and compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw"]

_COLORS = ("#c44e52", "#4c72b0", "#55a868", "#8172b3")
_STYLES = {"float32": "-", "bfloat16": "--", "float8": ":"}


def draw(path: Path, projections: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> None:
    """Draw a row for each speed of a rank, and below what was measured beside the model."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    speeds = list(dict.fromkeys(one["speed"] for one in projections))
    links = list(dict.fromkeys(one["link"] for one in projections))
    figure, axes = plt.subplots(len(speeds) + 1, 2, figsize=(11, 3.6 * (len(speeds) + 1)), squeeze=False)
    for (times, shares), speed in zip(axes, speeds, strict=False):
        for one in projections:
            if one["speed"] != speed:
                continue
            how = {
                "color": _COLORS[links.index(one["link"]) % len(_COLORS)],
                "linestyle": _STYLES[one["compression"]],
                "label": f"{one['link']}, {one['compression']}",
            }
            times.plot(one["ranks"], [seconds * 1e3 for seconds in one["seconds"]], **how)
            shares.plot(one["ranks"], one["efficiency"], **how)
        for axis in (times, shares):
            axis.set_xscale("log", base=2)
            axis.set_xticks(projections[0]["ranks"][::2], [f"{n:,}" for n in projections[0]["ranks"][::2]])
            axis.set_xlabel("ranks")
            axis.grid(alpha=0.3)
        rank = "one core here" if speed == 1 else f"{speed:g} cores here"
        times.set_title(f"model: a step, a rank as fast as {rank}")
        times.set_ylabel("ms")
        times.set_ylim(bottom=0)
        rows = 128 * projections[0]["shards"]
        shares.set_title(f"model: efficiency, {rows:,} rows a rank")
        shares.set_ylim(0, 1.05)
    axes[0][1].legend(fontsize=7, ncols=len(links))
    for axis, key, title in zip(
        axes[-1],
        ("cpu_seconds", "seconds"),
        ("measured here: CPU of a rank", "measured here: by the clock"),
        strict=True,
    ):
        names = [
            f"{row['ranks']}{'*' if row['oversubscribed'] else ''}\n{row['compression']}" for row in checks
        ]
        places = range(len(checks))
        measured = [row[key]["measured"] * 1e3 for row in checks]
        model = [row[key]["model"] * 1e3 for row in checks]
        axis.bar([at - 0.2 for at in places], measured, 0.4, color=_COLORS[1], label="measured")
        axis.bar([at + 0.2 for at in places], model, 0.4, color=_COLORS[2], label="model")
        axis.set_xticks(list(places), names, fontsize=7)
        axis.set_title(title)
        axis.set_ylabel("ms")
        axis.legend(fontsize=8)
    axes[-1][0].set_xlabel("ranks (* oversubscribed: more than cores), gradients")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
