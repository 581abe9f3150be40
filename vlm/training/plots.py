"""Losses and scores of a run, drawn from its JSONL logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlm.errors import UsageError

LOSSES = ("answer", "guide", "dense", "contrast")
SCORES = ("accuracy", "named")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log.

    Raises:
        UsageError: not a log of ``vlm train``.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a log of vlm train ({error})") from None
    for line in lines:
        if not isinstance(line, dict) or "seconds" not in line:
            raise UsageError(f"{path}: not a log of vlm train (a line without seconds)")
        if "stage" in line and not {"name", "first_step"} <= line.keys():
            raise UsageError(f"{path}: a log of an older vlm train (a stage without name and first_step)")
    return lines


def plot_logs(logs: Sequence[Path], out: Path) -> None:
    """Draw losses above, shares below, against hours; logs of several stages follow one another.

    Args:
        logs: .jsonl files of the stages, in order.
        out: picture to write (.png, .svg or .pdf).

    Raises:
        UsageError: a file is not a log, or none holds a step.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trained: dict[str, tuple[list[float], list[float]]] = {}
    checked: dict[str, tuple[list[float], list[float]]] = {}
    hours = 0.0
    borders: list[float] = []
    for path in logs:
        last = 0.0
        for line in read_log(path):
            if line["seconds"] / 3600 < last:  # the stage was resumed
                hours += last
            last = line["seconds"] / 3600
            for series, values in ((trained, line), (checked, line.get("validation", {}))):
                for name in (*LOSSES, *SCORES):
                    if name in values:
                        xs, ys = series.setdefault(name, ([], []))
                        xs.append(hours + last)
                        ys.append(values[name])
        hours += last
        borders.append(hours)
    if not trained:
        raise UsageError(f"{', '.join(map(str, logs))}: no training step is logged there")
    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = ((LOSSES, "loss"), (SCORES, "share right"))
    rows = [(names, title) for names, title in panels if trained.keys() & names]
    for axes, (names, title) in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        for index, name in enumerate(name for name in names if name in trained):
            axes.plot(*trained[name], color=f"C{index}", alpha=0.5, label=f"{name}, training")
            if name in checked:
                axes.plot(*checked[name], color=f"C{index}", marker="o", label=f"{name}, validation")
        for border in borders[:-1]:
            axes.axvline(border, color="grey", linestyle=":")
        axes.set(xlabel="hours", ylabel=title)
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(out)
