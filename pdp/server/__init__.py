"""The decision point as a process: listeners, workers, health, telemetry, around a table of handlers."""
