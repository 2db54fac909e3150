"""Peer-to-peer electricity trading: simulate it, operate it, settle it, and check every number.

>>> import wattle
>>> book = [
...     {"member": "Ann", "side": "buy", "quantity_kwh": "2", "limit_ct_per_kwh": "25"},
...     {"member": "Bob", "side": "sell", "quantity_kwh": "3", "limit_ct_per_kwh": "8"},
... ]
>>> result = wattle.clear("uniform-auction", book)
>>> [(trade["buyer"], trade["seller"], str(trade["buy_price_ct_per_kwh"])) for trade in result.trades]
[('Ann', 'Bob', '8')]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattle.version import __version__

if TYPE_CHECKING:
    from wattle.api import Result, clear
    from wattle.core.checks import InputError

__all__ = ["InputError", "Result", "__version__", "clear"]

# Found when first asked for, so that `import wattle` loads nothing heavy.
_PLACES = {"clear": "wattle.api", "Result": "wattle.api", "InputError": "wattle.core.checks"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'wattle' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
