"""The command ops/screenshots, and the page in a real browser for its tests."""
