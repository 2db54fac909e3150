"""Scenarios: strict TOML and tables to objects."""
