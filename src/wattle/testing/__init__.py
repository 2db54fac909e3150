"""Conformance suite and generators for every plug-in, a stranger's too."""
