"""Books and codes of the double entry. Every book balances by itself, always."""

from __future__ import annotations

ENERGY = 0
MONEY = 1
BOOKS = 2

LOCAL = 1
UTILITY_ENERGY = 2
NETWORK = 3
LEVY = 4
TAX = 5
PLATFORM = 6
SHARING = 7
SPREAD = 8
CODES = 9
"""One more than the largest code. The numbers are stored; never reuse one."""

BILL_LINE_OF = {
    LOCAL: "local",
    SPREAD: "local",
    UTILITY_ENERGY: "utility",
    NETWORK: "network",
    LEVY: "levy",
    TAX: "levy",
    PLATFORM: "platform",
    SHARING: "sharing",
}
"""The line of a bill on which each code is shown."""
