"""The dashboards of ops/grafana: written, read back, expanded and drawn."""
