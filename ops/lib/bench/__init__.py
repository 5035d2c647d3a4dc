"""The command ops/bench, one module per bench."""
