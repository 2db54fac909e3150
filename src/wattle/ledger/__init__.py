"""Double entry, fees, settlement, statements. Pure."""
