"""Opens Parquet files with four readers that are not ours and compares what they see.

    open_with_tools.py FILE...

Each file is read by pyarrow, DuckDB, the ClickHouse engine (chdb) and parquet-java.
Columns, row count and the whole content must agree between them, and the row count
with the file's own footer; `remote_addr` and `url` must be readable strings in
each. Prints one line of JSON per file (path, columns, rows, a sample of the
two), and ends with 1 and the differences on stderr when there are any.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import chdb
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

READABLE = ("remote_addr", "url")
ROOT = Path(__file__).resolve().parents[2]


def with_pyarrow(path):
    table = pq.ParquetFile(path).read()
    texts = {field.name for field in table.schema if pa.types.is_string(field.type)}
    return table.column_names, texts, rows_of(table)


def with_duckdb(path):
    with duckdb.connect() as connection:
        result = connection.execute("SELECT * FROM read_parquet(?)", [path])
        names = [column[0] for column in result.description]
        texts = {column[0] for column in result.description if str(column[1]) in ("VARCHAR", "STRING")}
        return names, texts, Counter(map(canonical, result.fetchall()))


def with_clickhouse(path):
    source = f"file({quoted(path)}, Parquet)"
    description = json.loads(chdb.query(f"DESCRIBE TABLE {source}", "JSON").bytes())["data"]
    names = [column["name"] for column in description]
    texts = {column["name"] for column in description if "String" in column["type"]}
    # As Arrow, with strings as what they are to ClickHouse: bytes.
    sql = f"SELECT * FROM {source} SETTINGS output_format_arrow_string_as_string = 0"
    answer = chdb.query(sql, "Arrow").bytes()
    if not answer:  # a file without rows
        return names, texts, Counter()
    return names, texts, rows_of(pa.ipc.open_file(pa.BufferReader(answer)).read_all())


def with_java(path):
    program = ROOT / "tests/spool/ReadRows.java"
    done = subprocess.run(
        ["java", "-cp", f"{ROOT}/target/tools/parquet-java/*", program, path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{path}: parquet-java failed:\n{done.stderr}")
    names, *rows = (line.split("\t")[1:] for line in done.stdout.splitlines())
    rows = Counter(tuple(map(java_value, row)) for row in rows)
    texts = {name for place, name in enumerate(names) if all(isinstance(row[place], bytes) for row in rows)}
    return names, texts, rows


def java_value(text):
    if text == "-":
        return None
    return bytes.fromhex(text[1:]) if text.startswith("x") else int(text)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def rows_of(table):
    return Counter(canonical(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True))


def canonical(row):
    """Texts as their bytes, so that a reader's idea of a string plays no part."""
    return tuple(value.encode() if isinstance(value, str) else value for value in row)


TOOLS = {"pyarrow": with_pyarrow, "DuckDB": with_duckdb, "ClickHouse": with_clickhouse, "parquet-java": with_java}


def differences(path):
    """What is wrong with this file, and what it holds."""
    footer = pq.read_metadata(path)
    columns = footer.schema.names
    found = []
    first = None
    for tool, read in TOOLS.items():
        names, texts, rows = read(path)
        if names != columns:
            found.append(f"{tool} sees the columns {names}, the footer has {columns}")
        if rows.total() != footer.num_rows:
            found.append(f"{tool} sees {rows.total()} rows, the footer says {footer.num_rows}")
        unread = [name for name in READABLE if name in columns and name not in texts]
        found += [f"{tool} does not take {name} for text" for name in unread]
        if first is None:
            first = rows
        elif rows != first:
            only, missing = rows - first, first - rows
            found.append(f"{tool} differs from pyarrow: {shown(only)} instead of {shown(missing)}")
    sample = {}
    for name in READABLE:
        if name in columns:
            place = columns.index(name)
            values = sorted({row[place] for row in first})
            sample[name] = [value[:80].decode(errors="replace") for value in values]
            found += [f"{name} is no UTF-8: {value[:80]}" for value in values if not is_utf8(value)]
    return found, {"path": path, "columns": columns, "rows": footer.num_rows, "sample": sample}


def is_utf8(value):
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(rows):
    return [str(row)[:200] for row in list(rows)[:2]]


def main():
    failed = False
    for path in sys.argv[1:]:
        found, summary = differences(path)
        print(json.dumps(summary), flush=True)
        for difference in found:
            failed = True
            print(f"{path}: {difference}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
