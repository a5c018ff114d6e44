"""The pictures of `docs/benchmarks/`, drawn from the recorded figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "benchmarks"
OURS, OTHERS, LINE = "#1769aa", "#b8c2cc", "#555555"


def draw(found: dict[str, Any]) -> dict[str, str]:
    """Draws what was measured; gives the file's name for each benchmark that has a picture."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "spcs_llm",  # the same figures give the same file
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, picture in PICTURES.items():
        if name in found:
            picture(found[name], FOLDER / f"{name}.svg")
            drawn[name] = f"{name}.svg"
    return drawn


def _bars(benchmark: dict[str, Any], file: Path, unit: str, bound: tuple[str, float] | None = None) -> None:
    """A bar for each client: the median, and a thin line from the least to the most."""
    from matplotlib.figure import Figure

    series = {
        name: values if isinstance(values, list) else [values]
        for name, values in benchmark["series"].items()
        if bound is None or name != bound[0]
    }
    figure = Figure(figsize=(7.2, 0.5 + 0.42 * len(series)), layout="constrained")
    axes = figure.add_subplot()
    widest = max(max(values) for values in series.values())
    for place, (name, values) in enumerate(series.items()):
        middle = statistics.median(values)
        axes.barh(place, middle, color=OURS if name.startswith("the plugin") else OTHERS, height=0.62)
        if len(values) > 1:
            axes.plot([min(values), max(values)], [place, place], color=LINE, linewidth=1)
        axes.text(
            max(values) + widest / 90,
            place,
            f"{middle:,.0f}" if middle >= 20 else f"{middle:.1f}",
            va="center",
        )
    if bound is not None:
        axes.axvline(benchmark["series"][bound[0]], color=LINE, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(series)), list(series))
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.12)
    axes.set_xlabel(unit)
    _save(figure, file)


def _calls(benchmark: dict[str, Any], file: Path) -> None:
    _bars(benchmark, file, "CPU µs per call")


def _streaming(benchmark: dict[str, Any], file: Path) -> None:
    _bars(benchmark, file, "CPU µs a streamed token")


def _embeddings(benchmark: dict[str, Any], file: Path) -> None:
    _bars(benchmark, file, "seconds for 20,000 texts; dotted: full requests without a pause", ("bound", 0.0))


def _throughput(benchmark: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    threads = list(benchmark["series"])
    for shift, (client, color) in enumerate((("requests", OTHERS), ("plugin", OURS))):
        places = [place + (shift - 0.5) * 0.36 for place in range(len(threads))]
        rates = [benchmark["series"][number][client] for number in threads]
        label = "the plugin" if client == "plugin" else "requests, bare"
        axes.bar(places, [statistics.median(rate) for rate in rates], 0.34, color=color, label=label)
        for place, rate in zip(places, rates, strict=True):
            axes.plot([place, place], [min(rate), max(rate)], color=LINE, linewidth=1)
    axes.set_xticks(
        range(len(threads)), [f"{number} threads" if number != "1" else "1 thread" for number in threads]
    )
    axes.set_ylabel("calls per second")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    _save(figure, file)


def _batching(benchmark: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    rows = benchmark["rows"]
    for place, row in enumerate(rows):
        values = benchmark["series"][f"{row['replicas']}, {row['callers']}"]
        axes.bar(place, statistics.median(values), 0.6, color=OURS)
        axes.plot([place, place], [min(values), max(values)], color=LINE, linewidth=1)
        axes.plot([place - 0.4, place + 0.4], [row["aim"]] * 2, color=LINE, linewidth=1.4)
    axes.axhline(1.0, color=LINE, linewidth=1, linestyle=":")
    labels = [f"{row['callers']}" for row in rows]
    axes.set_xticks(range(len(rows)), labels)
    axes.set_xlabel("callers, on one, two and four replicas; line: the aim; dotted: the best possible")
    axes.set_ylabel("times the best possible")
    _save(figure, file)


def _growth(benchmark: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    calls = [row["calls"] / 1000 for row in benchmark["rows"]]
    for axes, key, label in ((left, "cpu", "CPU µs per call"), (right, "memory", "resident MB")):
        values = benchmark["series"][key]
        axes.plot(calls, values, color=OURS, marker="o", markersize=3)
        axes.set_ylim(0, max(values) * 1.25)
        axes.set_xlabel("thousand calls")
        axes.set_ylabel(label)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")


PICTURES: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "calls": _calls,
    "streamed_calls": _calls,
    "streaming": _streaming,
    "embeddings": _embeddings,
    "throughput": _throughput,
    "batching": _batching,
    "growth": _growth,
}
