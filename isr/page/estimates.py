"""Times before the first file: how fast this computer is at what waits is measured while nothing else is done."""

from __future__ import annotations

import asyncio

from isr.errors import ISRError
from isr.page.items import Item
from isr.page.supervisor import Facts, Supervisor
from isr.page.trials import Trials
from isr.predict.speeds import Kind

PACE = 1.0  # seconds between two looks
REST = 3  # looks without news after which it is quiet


class Estimates:
    """Measures each kind of work that waits and was never done here, once, by a small picture or clip.

    Args:
        supervisor: that knows what waits.
        trials: whose worker does it.

    Attributes:
        measuring: whether it is being done.
    """

    def __init__(self, supervisor: Supervisor, trials: Trials) -> None:
        self.supervisor, self.trials = supervisor, trials
        self.measuring = False
        # What was measured, or could not be.
        self._tried: set[Kind] = set()

    async def run(self) -> None:
        """Look again and again."""
        queue, seen, quiet = self.supervisor.queue, -1, 0
        while True:
            await asyncio.sleep(PACE)
            if self.supervisor.current is not None or queue.revision != seen:
                seen, quiet = queue.revision, 0
                continue
            quiet += 1
            # Whoever began meanwhile need not wait: what is at work is known soon.
            if quiet == REST and (found := self._unknown()) is not None:
                await self._measure(*found)
                quiet = 0

    def _unknown(self) -> tuple[Item, Facts, Kind] | None:
        """The first waiting item whose time is not known, and what decides it."""
        for item in self.supervisor.queue.items:
            facts = self.supervisor.facts(item.id) if item.state == "waiting" else None
            if facts is None or facts.kind is None or facts.kind in self._tried:
                continue
            if facts.seconds(self.supervisor.speeds) is None:
                return item, facts, facts.kind
        return None

    async def _measure(self, item: Item, facts: Facts, kind: Kind) -> None:
        self._tried.add(kind)
        values = {**self.supervisor.queue.settings.values, **item.changes}
        if values.get("options.size") is not None and facts.size_in and facts.size_out:
            # By the networks that the item takes.
            values["options.scale"] = facts.size_out[0] / facts.size_in[0]
        self.measuring = True
        try:
            await self.trials.measure(values, item.clip)
        except (ISRError, OSError):
            # What cannot be made is told when it is tried.
            return
        finally:
            self.measuring = False
            self.supervisor.reread_speeds()
