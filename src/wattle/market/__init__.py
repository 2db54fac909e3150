"""Market rules, one mechanism or one close family per file. Pure."""
