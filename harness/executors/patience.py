"""What batches took flows in; how long a worker may say nothing, and what the next batches will take, flow out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

SLOW = 1.5  # times what batches usually take: who takes longer is asked for one at a time
LEAST_PATIENCE = 60.0  # seconds of silence that are always allowed
FIRST_PATIENCE = 600.0  # before a worker's first batch, which opens networks, when none has been seen
OPENINGS = 2  # times the longest first batch that was seen, on top of the usual patience


@dataclass
class Patience:
    """How long silence may last: as told, or 10 times what 95 of 100 batches took.

    A first batch, for which networks are opened, may take longer: several times the longest of those seen.
    """

    told: float | None
    usual: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    first: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    def seconds(self) -> tuple[float, float]:
        """For any batch, and for a first one."""
        usual = self.told if self.told is not None else max(LEAST_PATIENCE, 10 * self._share(0.95))
        return usual, usual + OPENINGS * max(self.first) if self.first else max(usual, FIRST_PATIENCE)

    @property
    def median(self) -> float:
        """What half of the last batches took no more than; 0 where there were none."""
        return self._share(0.5)

    def pace_after(self, first: float) -> float | None:
        """What batches will take whose first one took so long, where that is much longer than of others."""
        times = first / sorted([*self.first, first])[len(self.first) // 2]
        return times * self.median if times > SLOW and self.usual else None

    def _share(self, share: float) -> float:
        ordered = sorted(self.usual) or [0.0]
        return ordered[int(share * len(self.usual))]
