"""Asks ClickHouse over HTTP, directly and never through the proxy: there every request costs a slot."""

import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


class ClickHouseError(Exception):
    pass


class ClickHouse:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}/"

    def answers(self):
        try:
            return self._get("ping", timeout=2) == b"Ok.\n"
        except OSError:
            return False

    def _get(self, path, timeout):
        with urllib.request.urlopen(self.base + path, timeout=timeout) as response:
            return response.read()

    def query(self, sql, timeout=300):
        """The raw answer; ClickHouseError with ClickHouse's own words if it refuses."""
        try:
            with urllib.request.urlopen(self.base, data=sql.encode(), timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise ClickHouseError(error.read().decode(errors="replace").strip()) from None

    def numbers(self, sql):
        """The first row's columns as integers."""
        return [int(field) for field in self.query(sql).split()]

    def apply(self, directory):
        """Run the numbered files of a directory in order, one statement per `;` at a line's end."""
        for file in sorted(Path(directory).glob("[0-9]*.sql")):
            for statement in statements(file.read_text()):
                try:
                    self.query(statement)
                except ClickHouseError as error:
                    raise ClickHouseError(f"{file.name}: {error}") from None


def statements(text):
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in ("\n".join(lines) + "\n").split(";\n") if part.strip()]
