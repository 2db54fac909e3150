"""Indices, explanations and reports, read from results only."""
