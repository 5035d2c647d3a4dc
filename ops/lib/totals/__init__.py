"""The tables of sql/ in the ClickHouse engine, filled and measured without a server."""
