"""The command ops/demo."""
