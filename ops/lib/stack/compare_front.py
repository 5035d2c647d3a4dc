"""Prints what a real ClickHouse server and the stack's front answer to the same requests.

Invariant: both run in target/compare/ on ports of their own, and are stopped at the end.
"""

import http.client
import re
import shutil
import sys
import time
import urllib.parse

from stack.parts import ROOT, TEMPLATES, TOOLS, StackError, listening
from stack.process import Daemon

DIR = ROOT / "target/compare"
SERVER, FRONT, SERVER_TCP = 18123, 18125, 18126

CONFIG = """<yandex>
  <logger><console>1</console><level>warning</level></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>
  <path>{dir}/data/</path><tmp_path>{dir}/tmp/</tmp_path>
  <mark_cache_size>5368709120</mark_cache_size>
  <users_config>{dir}/users.xml</users_config>
  <default_profile>default</default_profile><default_database>default</default_database>
  <timezone>UTC</timezone>
</yandex>
"""
USERS = """<yandex>
  <profiles><default/></profiles><quotas><default/></quotas>
  <users><default><password></password><networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile><quota>default</quota></default></users>
</yandex>
"""

INSERT_TSV, INSERT_JSON = "INSERT INTO t FORMAT TSV", "INSERT INTO t (a, b) FORMAT JSONEachRow"
# name, method, path with query, body, headers
REQUESTS = [
    ("ping", "GET", "/ping", None, {}),
    ("root", "GET", "/", None, {}),
    ("unknown path", "GET", "/nosuch", None, {}),
    ("empty POST", "POST", "/", b"", {}),
    ("select in URL", "GET", {"query": "SELECT 1"}, None, {}),
    ("select in body", "POST", {}, b"SELECT 1, 'a'", {}),
    ("select, both", "POST", {"query": "SELECT 1"}, b"+ 1 FORMAT JSONEachRow", {}),
    ("default_format", "GET", {"query": "SELECT 1 AS x", "default_format": "CSV"}, None, {}),
    ("query_id", "GET", {"query": "SELECT 1", "query_id": "mine"}, None, {}),
    (
        "setting",
        "GET",
        {"query": "SELECT value FROM system.settings WHERE name = 'max_threads'", "max_threads": "3"},
        None,
        {},
    ),
    ("create table", "POST", {}, b"CREATE TABLE t (a UInt8, b DateTime) ENGINE = MergeTree ORDER BY a", {}),
    ("create again", "POST", {}, b"CREATE TABLE t (a UInt8, b DateTime) ENGINE = MergeTree ORDER BY a", {}),
    ("insert TSV", "POST", {"query": INSERT_TSV}, b"1\t2026-01-02 03:04:05\n", {}),
    ("insert TSV, in body", "POST", {}, INSERT_TSV.encode() + b"\n1\t2026-01-02 03:04:05\n", {}),
    ("insert JSONEachRow", "POST", {"query": INSERT_JSON}, b'{"a": 2, "b": "2026-01-02 03:04:05"}\n', {}),
    ("insert VALUES", "POST", {"query": "INSERT INTO t VALUES (3, '2026-01-02 03:04:05')"}, b"", {}),
    ("insert, chunked", "POST", {"query": INSERT_TSV}, b"4\t2026-01-02 03:04:05\n", {"Transfer-Encoding": "chunked"}),
    ("insert, close", "POST", {"query": INSERT_TSV}, b"5\t2026-01-02 03:04:05\n", {"Connection": "close"}),
    ("insert no data", "POST", {"query": INSERT_TSV}, b"", {}),
    ("count", "GET", {"query": "SELECT count(), sum(a) FROM t"}, None, {}),
    ("insert by GET", "GET", {"query": "INSERT INTO t VALUES (9, '2026-01-02 03:04:05')"}, None, {}),
    ("syntax error", "POST", {}, b"SELEC 1", {}),
    ("unknown table", "POST", {}, b"SELECT * FROM nosuch", {}),
    ("insert unknown table", "POST", {"query": "INSERT INTO nosuch FORMAT TSV"}, b"1\n", {}),
    ("unknown column", "POST", {"query": "INSERT INTO t (zz) FORMAT TSV"}, b"1\n", {}),
    ("unknown database", "GET", {"query": "SELECT 1", "database": "nosuch"}, None, {}),
    ("unknown setting", "GET", {"query": "SELECT 1", "nosuch_setting": "1"}, None, {}),
    ("bad setting value", "GET", {"query": "SELECT 1", "max_threads": "many"}, None, {}),
    ("unknown format", "POST", {"query": "INSERT INTO t FORMAT NoSuch"}, b"1\n", {}),
    ("bad data TSV", "POST", {"query": INSERT_TSV}, b"zz\t2026-01-02 03:04:05\n", {}),
    ("bad data JSON", "POST", {"query": INSERT_JSON}, b'{"a": "x', {}),
    ("two statements", "POST", {}, b"SELECT 1; SELECT 2", {}),
    ("select afterwards", "GET", {"query": "SELECT 1"}, None, {}),
]


def ask(port, method, target, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    path = target if isinstance(target, str) else "/?" + urllib.parse.urlencode(target)
    chunked = "Transfer-Encoding" in headers
    connection.request(method, path, iter([body]) if chunked else body, headers, encode_chunked=chunked)
    response = connection.getresponse()
    text = response.read().decode(errors="replace")
    connection.close()
    code = re.search(r"Code: (\d+)", text)
    shown = f"code {code[1]}" if code else repr(text[:24])
    named = {name: value for name, value in response.getheaders() if name.lower() not in ("date", "content-length")}
    return response.status, shown, named


def start(daemon, argv, port):
    if listening(port):
        raise StackError(f"port {port} is taken")
    daemon.start(argv, cwd=daemon.log_file.parent)
    deadline = time.monotonic() + 30
    while not listening(port):
        if time.monotonic() > deadline or not daemon.pid():
            raise StackError(f"{daemon.name} does not answer; its log: {daemon.log_file}")
        time.sleep(0.1)


def main():
    shutil.rmtree(DIR, ignore_errors=True)
    (DIR / "tmp").mkdir(parents=True)
    # Not config.xml: the front's engine would read it as well.
    (DIR / "server.xml").write_text(CONFIG.format(http=SERVER, tcp=SERVER_TCP, dir=DIR))
    (DIR / "users.xml").write_text(USERS)
    server, front = Daemon("server", DIR), Daemon("front", DIR)
    program = shutil.which("clickhouse-server") or "/usr/sbin/clickhouse-server"
    python = str(TOOLS / "venv/bin/python")
    try:
        start(server, [program, f"--config-file={DIR}/server.xml"], SERVER)
        start(
            front,
            [python, str(TEMPLATES / "clickhouse_front.py"), "--port", str(FRONT), "--data", str(DIR / "front")],
            FRONT,
        )
        compare()
    finally:
        for daemon in (server, front):
            daemon.terminate()
        for daemon in (server, front):
            daemon.wait_stopped()


def compare():
    print(f"{'request':<22}{'server: status, body':<42}{'front: status, body':<42}")
    headers = {}
    for name, *request in REQUESTS:
        answers = [ask(port, *request) for port in (SERVER, FRONT)]
        cells = [f"{status} {shown}" for status, shown, _ in answers]
        mark = "" if cells[0] == cells[1] else "  differs"
        print(f"{name:<22}{cells[0]:<42}{cells[1]:<42}{mark}")
        headers[name] = [named for _, _, named in answers]
    for name in ("ping", "select in URL", "insert TSV", "syntax error"):
        print(f"\nheaders of {name!r}")
        real, ours = headers[name]
        for header in sorted({*real, *ours}):
            print(f"  {header:<36}{real.get(header, '-')[:40]:<42}{ours.get(header, '-')[:60]}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, StackError) as error:
        sys.exit(f"compare_front: {error}")
