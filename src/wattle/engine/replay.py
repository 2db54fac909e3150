"""Feed recorded events to a fresh engine: recovery, test and proof in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wattle.engine.engine import Engine, Rules
from wattle.engine.events import Effect, Event


def replay(
    rules: Rules, members: int, events: Iterable[Event], observe: Callable[[list[Effect]], None] | None = None
) -> Engine:
    """Return the engine after these events; `observe` gets the effects of each."""
    engine = Engine(rules, members)
    for event in events:
        effects = engine.handle(event)
        if observe is not None:
            observe(effects)
    return engine
