"""The shell around the engine: simulation, journal, replay, meter files."""
