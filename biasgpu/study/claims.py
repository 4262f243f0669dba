"""The published claims, and the rules by which an interval decides them.

Claim and rule are written down before the numbers are seen. "No difference" is a claim of
equivalence: not finding a difference does not make it hold, the whole interval must lie within the
margin. With a margin m (0.01: one percentage point) and an interval [low, high]:

- *no difference*: holds if -m < low and high < m; does not hold if low >= m or high <= -m.
- *up*: holds if low > 0; does not hold if high < 0, or if there is no difference (as above).
- *down*: the same with the sign turned.

Whatever else is not decided. A claim about two numbers holds if it does for both, and does not hold
if it fails for either.

Source: Peleg and Hein, ICML 2024, for the claims; Schuirmann, Journal of Pharmacokinetics and
Biopharmaceutics 15 (1987), for tests of equivalence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from biasgpu.study.bootstrap import Quantity

Decision = Literal["holds", "does not hold", "not decided", "not tested"]
Kind = Literal["up", "down", "no difference"]
MARGIN = 0.01

WIDER_SGD = "wider is better for SGD"
WIDTH_DRAWN = "width makes no difference to guess and check"
DEEPER = "deeper is worse for both"
ALIKE = "from U[-1, 1] SGD behaves like guess and check"


def decide(kind: Kind, found: Quantity | None, margin: float = MARGIN) -> Decision:
    """Whether an interval decides a claim, by the rules above.

    Args:
        kind: "up", "down", or "no difference".
        found: the number with its interval; None where there were no cells for it.
        margin: of equivalence, as test accuracy (per unit of the axis).
    """
    if found is None or found.low is None or found.high is None:
        return "not tested"
    low, high = (-found.high, -found.low) if kind == "down" else (found.low, found.high)
    same = -margin < low and high < margin
    if kind == "no difference":
        holds, fails = same, low >= margin or high <= -margin
    else:
        holds = low > 0.0
        fails = not holds and (high < 0.0 or same)
    return "holds" if holds else "does not hold" if fails else "not decided"


def both(first: Decision, second: Decision) -> Decision:
    """The decision on two claims together."""
    for one in ("does not hold", "not tested", "not decided"):
        if one in (first, second):
            return one
    return "holds"


def rule(kind: Kind, unit: str, margin: float = MARGIN) -> str:
    """The rule in words.

    Args:
        kind: "up", "down", or "no difference".
        unit: "per doubling", "per layer", or "".
        margin: as in `decide`.
    """
    within = f"within ±{100 * margin:g} percentage points{' ' * bool(unit)}{unit}"
    if kind == "no difference":
        return f"the interval lies {within}; does not hold if it lies outside"
    side, other = ("above", "below") if kind == "up" else ("below", "above")
    return f"the interval lies {side} 0; does not hold if {other} 0, or around 0 and {within}"


@dataclass(frozen=True)
class Claim:
    """A published claim and what the cells say about it, all N together.

    Attributes:
        text: the claim.
        where: the comparison that it is tested on; "" where there is none.
        found: the numbers that decide, by name.
        unit: of the numbers, after "percentage points".
        rule: when the claim holds.
        decision: "holds", "does not hold", "not decided", or "not tested".
        note: why it was not tested, or what the interval leaves out.
    """

    text: str
    where: str
    found: dict[str, Quantity]
    unit: str
    rule: str
    decision: Decision
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the attributes."""
        found = {name: quantity.to_dict() for name, quantity in self.found.items()}
        return {
            "claim": self.text,
            "where": self.where,
            "found": found,
            "unit": f"test accuracy {self.unit}".strip(),
            "rule": self.rule,
            "decision": self.decision,
            "note": self.note,
        }
