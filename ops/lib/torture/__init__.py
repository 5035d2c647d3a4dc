"""The command ops/torture."""
