"""``vlm bench plot``: encode, prefill and decode as bars, ours beside the peers, from the JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm.errors import UsageError

# What is drawn of each measurement, and what its axis says.
_AXES = {
    "encode": ("seconds", "seconds a window (less is better)"),
    "prefill": ("tokens_per_second", "tokens read a second (more is better)"),
    "decode": ("tokens_per_second", "tokens written a second (more is better)"),
}
_TITLES = {"encode": "Encode", "prefill": "Prefill", "decode": "Decode"}
_WIDTH = 0.85  # of a bar, its distance to the next being 1


@dataclass(frozen=True)
class Panel:
    """One measurement. Each has an axis of its own: two models' speeds are far apart."""

    bench: str
    label: str
    bars: dict[str, float]  # by contender


def read_lines(files: Sequence[str]) -> list[dict[str, Any]]:
    """JSON lines of ``vlm bench``.

    Args:
        files: paths, or "-" for standard input.

    Raises:
        UsageError: a file can't be read, or a line is none of ``vlm bench``.
    """
    found = []
    for name in files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: can't be read ({error})") from None
        # A table may stand before the line, where --json was left out.
        for line in filter(lambda line: line.startswith("{"), text.splitlines()):
            found.append(_checked(name, line))
    if not any(line["bench"] in _AXES for line in found):
        raise UsageError(f"{', '.join(files)}: no line of vlm bench encode, prefill or decode")
    return found


def _checked(name: str, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
        known = isinstance(value["bench"], str) and isinstance(value["machine"]["processor"], str)
        key = _AXES[value["bench"]][0] if value["bench"] in _AXES else "seconds"
        rows = [(str(row["name"]), float(row[key])) for row in value["rows"]]
    except (ValueError, TypeError, KeyError):
        known, rows = False, []
    if not known or (value["bench"] in _AXES and not rows):
        raise UsageError(f"{name}: not a line of vlm bench: {line[:60]}")
    return value


def plot(lines: Sequence[dict[str, Any]], out: Path) -> None:
    """Draw one panel a measurement.

    Args:
        lines: from ``read_lines``.
        out: picture to write (.png, .svg or .pdf).

    Raises:
        UsageError: it can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [line for line in lines if line["bench"] in _AXES]
    panels = panels_of(drawn)
    names = list(dict.fromkeys(name for panel in panels for name in panel.bars))
    # A bar costs room, and so do the words around it.
    widths = [max(2.2, 0.75 * len(panel.bars) + 0.8) for panel in panels]
    figure = Figure(figsize=(max(6.0, 1.2 + sum(widths)), 4.8), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    many = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for axes, panel in zip(many, panels, strict=True):
        _draw(axes, panel, names)
    handles = {
        label: handle
        for axes in many
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))
    figure.suptitle(_machine(drawn), fontsize=10)
    try:
        figure.savefig(out)
    except (OSError, ValueError) as error:  # no such folder; no such format
        raise UsageError(f"{out}: can't be written ({error})") from None


def panels_of(lines: Sequence[dict[str, Any]]) -> list[Panel]:
    """Encode, prefill, decode; bars of one subject measured in several runs stand together."""
    panels: dict[tuple[str, str], Panel] = {}
    for bench, (key, _) in _AXES.items():
        for line in lines:
            if line["bench"] != bench:
                continue
            bars = {}
            for row in line["rows"]:
                scaled = row.get("all_layers_seconds", row["seconds"])
                bars[str(row["name"])] = float(scaled if key == "seconds" else row[key])
            label = _label(line)
            held = panels[bench, label].bars if (bench, label) in panels else {}
            panels[bench, label] = Panel(bench, label, held | bars)
    return list(panels.values())


def _label(line: dict[str, Any]) -> str:
    """Subject and size, as under the bars."""
    name = Path(str(line["subject"])).name
    parts = [name if len(name) <= 24 else name[:23] + "…"]
    if "pixels" in line:
        parts.append(f"{line['pixels']} px")
    if "tokens" in line:
        parts.append(f"{line['tokens']} tokens")
    if line.get("windows"):
        parts[-1] += f", {line['windows']} windows"
    cut = [f"{held} of {whole} layers, scaled" for held, whole in line["layers"].values() if held != whole]
    return "\n".join([*parts, *cut])


def _draw(axes: Any, panel: Panel, names: Sequence[str]) -> None:
    for place, (name, value) in enumerate(panel.bars.items()):
        bar = axes.bar(place, value, _WIDTH, color=f"C{names.index(name)}", label=name)
        axes.bar_label(bar, [f"{value:,.0f}" if value >= 100 else f"{value:.3g}"], padding=2, fontsize=9)
    axes.set_title(_TITLES[panel.bench])
    axes.set_ylabel(_AXES[panel.bench][1])
    axes.set_xticks([(len(panel.bars) - 1) / 2], [panel.label], fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.margins(x=0.08, y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _machine(lines: Sequence[dict[str, Any]]) -> str:
    """Processor and threads, of every machine a line comes from."""
    told = [
        f"{line['machine']['processor']}, {line['machine'].get('threads', '?')} threads" for line in lines
    ]
    return "; ".join(dict.fromkeys(told))
