"""What a row of the table says, and how it is printed."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

HEAD = "| measure | hub | peer | is | of stock | bar | |\n|---|---|---|---|---|---|---|"


@dataclass
class Line:
    """One row: our value, the peer's, their relation and its bar."""

    measure: str
    ours: str
    peer: str
    value: float
    bar: float
    at_least: bool
    stock: float | None = None
    """The same relation to the peer with its own BLAS, which has a bar of its own."""
    stock_bar: float = 0.0
    unit: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Tell whether every bar is."""
        whole = self.value >= self.bar if self.at_least else self.value <= self.bar
        return whole and (self.stock is None or self.stock >= self.stock_bar)

    def __str__(self) -> str:
        """Write the row in Markdown."""
        sign = "≥" if self.at_least else "≤"
        stock = "" if self.stock is None else f"{self.stock:.2f}"
        bar = f"{sign} {self.bar:.3g}{self.unit}"
        bar += f" / {sign} {self.stock_bar:.3g}" if self.stock_bar else ""
        cells = (
            self.measure, self.ours, self.peer, f"{self.value:.3g}{self.unit}", stock, bar,
            "met" if self.met else "**missed**",
        )  # fmt: skip
        return "| " + " | ".join(cells) + " |"


@dataclass
class Note:
    """A number beside the table: what llama.cpp makes of the same."""

    measure: str
    hub: float
    llama: float
    unit: str
    samples: dict[str, list[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write the row in Markdown."""
        return f"| {self.measure}, {self.unit} | {self.hub:.4g} | {self.llama:.4g} |"


def median(values: Sequence[float]) -> float:
    """Give the median."""
    return statistics.median(values)


def ratio(name: str, ours: list[float], theirs: list[float], bar: float) -> Line:
    """Compare medians of tokens a second."""
    value = median(ours) / median(theirs)
    shown, other = (f"{median(each):.1f}" for each in (ours, theirs))
    return Line(name, shown, other, value, bar, True, samples={"ours": ours, "theirs": theirs})


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(found: list[Line | Note]) -> str:
    """Write both tables."""
    lines = [str(line) for line in found if isinstance(line, Line)]
    notes = [str(note) for note in found if isinstance(note, Note)]
    text = "\n".join([HEAD, *lines])
    if notes:
        head = "| | hub, f32 | llama.cpp, Q4_1 |\n|---|---|---|"
        text += "\n\n" + "\n".join([head, *notes])
    return text


def as_json(found: list[Line | Note]) -> list[dict[str, Any]]:
    """Give everything measured."""
    return [asdict(each) | {"met": getattr(each, "met", None)} for each in found]
