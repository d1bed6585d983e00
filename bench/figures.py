"""What is measured, and when it counts as good. Pure: numbers come in, lines and JSON go out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

Verdict = Literal["ok", "missed", "failed", "not measured"]


class NotMeasured(Exception):
    """A peer is missing or can't do it. `str(error)` says why; the other figures go on."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio ours : peer may be. `limit` None: that it finishes is the goal."""

    limit: float | None
    strict: bool = False

    def __str__(self) -> str:
        if self.limit is None:
            return "finishes"
        return f"{'<' if self.strict else '≤'} {self.limit:g}"

    def met(self, ratio: float) -> bool:
        return self.limit is None or ratio < self.limit or (ratio == self.limit and not self.strict)


@dataclass(frozen=True, slots=True)
class Samples:
    """One side's measurements in their order, or why there are none."""

    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def middle(self) -> float | None:
        return median(self.values) if self.values else None


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. `ours` and `peer` are medians in `unit`; None where that side has none."""

    name: str
    peer_name: str
    unit: str
    ours: float | None
    peer: float | None
    ratio: float | None
    goal: str
    verdict: Verdict
    note: str
    ours_samples: tuple[float, ...]
    peer_samples: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def figure(
    name: str, peer_name: str, ours: Samples, peer: Samples, goal: Goal, *, unit: str = "s", note: str = ""
) -> Figure:
    """Compare the medians. Without ours it failed; without the peer it is not measured, unless finishing is enough."""
    mine, theirs = ours.middle, peer.middle
    ratio = mine / theirs if mine is not None and theirs else None
    verdict: Verdict
    if mine is None:
        verdict = "failed"
    elif ratio is None:
        verdict = "ok" if goal.limit is None else "not measured"
    else:
        verdict = "ok" if goal.met(ratio) else "missed"
    reasons = [f"ours: {ours.reason}" if ours.reason else "", f"{peer_name}: {peer.reason}" if peer.reason else ""]
    return Figure(
        name, peer_name, unit, mine, theirs, ratio, str(goal), verdict,
        "; ".join(part for part in (note, *reasons) if part), ours.values, peer.values,
    )  # fmt: skip


def unmeasured(name: str, peer_name: str, goal: Goal, reason: str) -> Figure:
    """What this machine lacks to measure it at all is no failure of ours."""
    return Figure(name, peer_name, "", None, None, None, str(goal), "not measured", reason, (), ())


def differences(whole: Samples, part: Samples) -> Samples:
    """Turn by turn, what is left of the whole without the part; nothing where a turn lacks one of them."""
    reason = whole.reason or part.reason
    if reason:
        return Samples(reason=reason)
    return Samples(tuple(each - less for each, less in zip(whole.values, part.values, strict=True)))


def interleave(
    contenders: Mapping[str, Callable[[], float]], repeat: int, report: Callable[[str, float | str], None]
) -> dict[str, Samples]:
    """Measure each contender `repeat` times in turns; each round begins with another one.

    Who raises NotMeasured is left out from then on, with what was measured of it.
    """
    names = list(contenders)
    values: dict[str, list[float]] = {name: [] for name in names}
    reasons: dict[str, str] = {}
    for turn in range(repeat):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if name in reasons:
                continue
            try:
                value = contenders[name]()
            except NotMeasured as error:
                reasons[name] = str(error)
                report(name, str(error))
            else:
                values[name].append(value)
                report(name, value)
    return {name: Samples(tuple(values[name]), reasons.get(name, "")) for name in names}


def line(found: Figure) -> str:
    """For the terminal: figure, ours, peer, ratio, goal, verdict, note."""
    ratio = "-" if found.ratio is None else f"{found.ratio:.2f}"
    return (
        f"{found.name:<34} ours {_shown(found.ours, found.unit):>9}  {found.peer_name:>14} "
        f"{_shown(found.peer, found.unit):>9}  ratio {ratio:>5}  goal {found.goal:<8} {found.verdict}"
        + (f"\n    {found.note}" if found.note else "")
    )


def _shown(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.{2 if value < 100 else 0}f} {unit}"


def spread(values: Sequence[float]) -> str:
    """`1.2-1.9`: the smallest and largest, for notes."""
    return f"{min(values):.2f}-{max(values):.2f}" if values else "-"
