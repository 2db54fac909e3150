"""Vocabulary: tables, messages, units, time, grouped kernels. Pure."""
