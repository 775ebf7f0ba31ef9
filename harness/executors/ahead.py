"""Work that is left flows in; how many batches each worker may be asked for ahead flows out to the pool.

Near the end nothing is asked ahead any more: it can be shared.
"""

from __future__ import annotations

from harness.executors.crew import Crew, Hand
from harness.executors.patience import SLOW
from harness.executors.pool import Pool
from harness.executors.suspects import Suspects

AHEAD = 2  # batches asked of a worker before the first of them is done, until the end is near
NEAR = 3  # batches a worker that are left: the end is near


class Ahead:
    """How near the end is. That is looked at where it may have changed: there may be thousands of workers."""

    def __init__(self, pool: Pool, crew: Crew) -> None:
        self._pool, self._crew = pool, crew
        self._ending = False
        self._far = 0  # batches at least until the end is near, where no piece waits
        self.begin()

    def begin(self) -> None:
        """Other work."""
        self._seen = False, 0  # whether pieces waited, and how many workers there were, when it was looked last

    def look(self, work: Suspects) -> None:
        """Where the end is near ask nobody for more than one batch."""
        members = self._crew.members
        before, self._seen = self._seen, (bool(work), len(members))
        if self._seen == before and (work or self._ending or self._far > 0):
            return
        left = 0 if work else self._crew.pending()
        self._far = left - NEAR * len(members)
        self._ending = not work and self._far <= 0
        for number, member in members.items() if self._ending else ():
            if member.ahead > 1:
                self._ask(number, member, 1)

    def answered(self, number: int, member: Hand, usual: float) -> None:
        """One has done a batch: ask for another ahead of who is as fast as they usually are, as long as there is more
        to do."""
        self._far -= 2  # it, and a copy
        slow = usual and (member.pace or 0.0) > SLOW * usual
        ahead = 1 if slow or self._ending else AHEAD
        if ahead != member.ahead:
            self._ask(number, member, ahead)

    def _ask(self, number: int, member: Hand, ahead: int) -> None:
        member.ahead = ahead
        self._pool.ahead(number, ahead)
