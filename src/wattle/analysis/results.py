"""Temporary door to `runtime.results`."""

from wattle.runtime.results import BILL_LINES, Comparison, Index, RuleResult

__all__ = ["BILL_LINES", "Comparison", "Index", "RuleResult"]
