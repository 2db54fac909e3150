"""Every speed that wattle promises, measured; run with `make bench`."""
