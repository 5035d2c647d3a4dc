"""Asks ClickHouse over HTTP, directly and never through the proxy: there every request costs a slot."""

import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TABLES = "00[1-3]_*.sql"  # of sql/; what follows them are queries
DEFAULTS = "000_parameters.sql"
# Synthetic records have the time that their seed gave them, which may be long ago.
FOR_EVER = {"log_days": 100_000, "totals_days": 100_000}


class ClickHouseError(Exception):
    pass


class ClickHouse:
    def __init__(self, port, database="default"):
        self.base = f"http://127.0.0.1:{port}/"
        self.database = database

    def answers(self):
        try:
            return self._get("ping", timeout=2) == b"Ok.\n"
        except OSError:
            return False

    def _get(self, path, timeout):
        with urllib.request.urlopen(self.base + path, timeout=timeout) as response:
            return response.read()

    def query(self, sql, timeout=300, **parameters):
        """The raw answer; ClickHouseError with ClickHouse's own words if it refuses.

        `parameters` are the values of `{name:Type}` in the query.
        """
        named = {"database": self.database} | {f"param_{name}": value for name, value in parameters.items()}
        url = f"{self.base}?{urllib.parse.urlencode(named)}"
        try:
            with urllib.request.urlopen(url, data=sql.encode(), timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise ClickHouseError(error.read().decode(errors="replace").strip()) from None

    def numbers(self, sql):
        """The first row's columns as integers."""
        return [int(field) for field in self.query(sql).split()]

    def apply(self, directory):
        """Makes the tables of a directory, in order, to keep rows of any age."""
        parameters = parameters_for_ever(directory)
        for file, statement in table_statements(directory):
            try:
                self.query(statement, **parameters)
            except ClickHouseError as error:
                raise ClickHouseError(f"{file}: {error}") from None


def table_statements(directory):
    """(file, statement) of everything that makes the tables, in order."""
    for file in sorted(Path(directory).glob(TABLES)):
        for statement in statements(file.read_text()):
            yield file.name, statement


def parameters_for_ever(directory):
    """The tables' parameters as sql/ sets them, but for the days."""
    text = (Path(directory) / DEFAULTS).read_text()
    return dict(re.findall(r"^SET param_(\w+) = (\S+);$", text, re.MULTILINE)) | FOR_EVER


def statements(text):
    """One statement per `;` at a line's end, without the lines of comment."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in ("\n".join(lines) + "\n").split(";\n") if part.strip()]
