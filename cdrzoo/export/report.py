"""What a verification found: checks, one by one, and the largest difference of scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One thing that was checked: its name, whether it holds, and what was found."""

    name: str
    ok: bool
    found: str


@dataclass
class Report:
    """What `verify` found.

    Args:
        path: the version that was verified.
        rows: rows that were replayed.
        checks: in the order they were made.
        largest: the largest difference of two scores that should be equal.
    """

    path: str
    rows: int = 0
    checks: list[Check] = field(default_factory=list)
    largest: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For `verify.json`."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [
            f"{'ok  ' if check.ok else 'FAIL'} {check.name:<{width}}  {check.found}" for check in self.checks
        ]
        failed = sum(not check.ok for check in self.checks)
        outcome = "verified" if self.ok else f"{failed} of {len(self.checks)} checks failed"
        return "\n".join(
            [*lines, f"{self.path}: {outcome}; {self.rows} rows, largest difference {self.largest:.1e}"]
        )
