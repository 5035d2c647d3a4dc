"""A thin HTTP front on the ClickHouse engine (chdb), for the local stack and the tests.

Job: let a client speak ClickHouse's HTTP interface to the real engine: same
queries, same tables, same deduplication, same errors and status codes.

Invariants: one engine, one data directory, one query at a time. A query runs
only when its whole request body has arrived. The answer is complete before
its first byte leaves.

Where it differs from a real server (see ops/stack.d/compare_front):
  - Nobody is authenticated unless a file of users is given (--users); there are no
    grants, only `readonly`, and session parameters are ignored.
  - Every answer behaves like wait_end_of_query=1, so an exception never follows
    a 200, and it has a Content-Length where the server sends chunks.
  - A query is not cancelled, timed out or limited in concurrency by the front;
    what waits for the lock just waits.
  - Inserts are never asynchronous, whatever async_insert says.
  - The data of INSERT ... FORMAT is read from a temporary file, so the text of a
    parse error names that file. INSERT ... VALUES is handed over as a query.
    Only INSERT data may be compressed, and only with gzip or zstd. Without any
    data a server answers 200 or a format error, the front what the engine says
    of an empty file.
  - Several statements in one request are run, where the server refuses them.
  - GET refuses the statements that write, not every change that readonly=2 would.
  - Data that can't be parsed is 400, as in the table of current servers; 18.16
    says 500. 18.16 also sends no X-ClickHouse header but Server-Display-Name,
    and takes a number's default for a setting's value that is no number.
  - X-ClickHouse-Summary has the read and written counts, no totals or memory,
    and does not count rows written by materialized views. An exception's own
    number is the engine's; the engine has no CapnProto format.
  - /replicas_status, /play, /dashboard and the predefined handlers are missing.
"""

import argparse
import base64
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ["TZ"] = "UTC"  # the engine reads it when it is loaded
from chdb import session

# URL parameters that are ClickHouse's own; all others are settings.
OWN_PARAMETERS = {
    "query",
    "query_id",
    "database",
    "user",
    "password",
    "quota_key",
    "role",
    "default_format",
    "compress",
    "decompress",
    "session_id",
    "session_timeout",
    "session_check",
    "close_session",
    "buffer_size",
    "wait_end_of_query",
    "stacktrace",
    "client_protocol_version",
}

# The server's own table (exceptionCodeToHTTPStatus.cpp), by the exception's name.
STATUS_OF_EXCEPTION = {
    400: """BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE
        CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER
        CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6
        CANNOT_PARSE_INPUT_ASSERTION_FAILED CANNOT_PARSE_UUID DUPLICATE_COLUMN ILLEGAL_COLUMN
        UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE THERE_IS_NO_COLUMN TOO_DEEP_AST TOO_BIG_AST
        UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH
        VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE""",
    401: "REQUIRED_PASSWORD",
    403: "UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED",
    404: """UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE
        UNKNOWN_DATABASE UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION
        UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE""",
    408: "TIMEOUT_EXCEEDED",
    411: "HTTP_LENGTH_REQUIRED",
    413: "QUERY_IS_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    501: "NOT_IMPLEMENTED",
    503: "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK",
}
STATUS_BY_NAME = {name: status for status, names in STATUS_OF_EXCEPTION.items() for name in names.split()}

INSERT_FORMAT = re.compile(  # head, its settings, format name; the data follows
    rb"(?is)\A(?P<head>\s*INSERT\s+INTO\s(?:(?!\b(?:SELECT|VALUES|INFILE)\b).)*?)"
    rb"(?P<settings>\bSETTINGS\s.*?)?\bFORMAT\s+(?P<format>\w+)[ \t]*;?(?:\r?\n|\s*\Z|[ \t])"
)
WRITE = re.compile(r"(?i)\s*(INSERT|CREATE|ALTER|DROP|TRUNCATE|RENAME|OPTIMIZE|ATTACH|DETACH|DELETE|UPDATE)\b")
OUTPUT_FORMAT = re.compile(r"(?is)\bFORMAT\s+(\w+)\s*;?\s*\Z")
COMPRESSION = {"gzip": "gzip", "zstd": "zstd"}
CONTENT_TYPE = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "JSON": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "Parquet": "application/octet-stream",
}


class Refusal(Exception):
    """An exception in ClickHouse's own words: code, name and text."""

    def __init__(self, message):
        # Errors raised below the parser arrive wrapped in themselves; keep the inner one.
        inner = re.match(r"(?s)Code: \d+\. DB::Exception: (Code: .*) \(version [^)]*\)\. \(\w+\)\Z", message)
        self.text = inner.group(1) if inner else message
        code = re.match(r"Code: (\d+)", self.text)
        names = re.findall(r"\(([A-Z][A-Z0-9_]+)\)", self.text)
        self.code = int(code.group(1)) if code else 1001
        self.status = STATUS_BY_NAME.get(names[-1] if names else "", 500)


class Engine:
    """The one session of this process. Settings last exactly as long as the query they came with."""

    def __init__(self, data, incoming):
        self.lock = threading.Lock()
        self.incoming = incoming
        self.session = session.Session(data)
        self.version = self._run("SELECT version()", "TabSeparated").bytes().decode().strip()
        changed = self._run("SELECT name, value FROM system.settings WHERE changed", "JSONCompactEachRow")
        self.baseline = dict(json.loads(line) for line in changed.bytes().splitlines())

    def close(self):
        with self.lock:
            self.session.close()

    def _run(self, sql, output_format):
        try:
            return self.session.query(sql, output_format)
        except RuntimeError as error:
            raise Refusal(str(error)) from None

    def query(self, sql, data, compression, output_format, database, settings):
        """Run `sql`; with `data`, `sql` is what INSERT_FORMAT matched and data is its rows."""
        with self.lock:
            applied = []
            try:
                if database:
                    self._run(f"USE {quote_name(database)}", "TabSeparated")
                for name, value in settings:
                    self._run(f"SET {quote_name(name)} = {quote(value)}", "TabSeparated")
                    applied.append(name)
                if data is None:
                    return self._run(sql, output_format)
                with tempfile.NamedTemporaryFile(dir=self.incoming, prefix="body-") as file:
                    file.write(data)
                    file.flush()
                    how = f" COMPRESSION {quote(compression)}" if compression else ""
                    source = f"{sql['head'].decode()} FROM INFILE {quote(file.name)}{how}"
                    extra = (sql["settings"] or b"").decode()
                    return self._run(f"{source} {extra} FORMAT {sql['format'].decode()}", output_format)
            finally:
                for name in applied:
                    if not name.startswith("param_"):
                        before = quote(self.baseline[name]) if name in self.baseline else "DEFAULT"
                        self._run(f"SET {quote_name(name)} = {before}", "TabSeparated")
                if database:
                    self._run("USE default", "TabSeparated")


def quote(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(text):
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Users:
    """Who may ask, and how: {"name": {"password": "...", "readonly": true}} in a file, read at each request.

    Without a file everybody may ask everything, as the user `default` without a password.
    """

    def __init__(self, path):
        self.path = path

    def admit(self, name, password):
        """Whether `name` may only read; Refusal for a stranger or a wrong password."""
        if self.path is None:
            return False
        with open(self.path) as file:
            user = json.load(file).get(name)
        if user is None or user.get("password", "") != password:
            raise Refusal(
                f"Code: 516. DB::Exception: {name}: Authentication failed: password is incorrect, "
                "or there is no user with such name. (AUTHENTICATION_FAILED)"
            )
        return user.get("readonly", False)


def identity(headers, own):
    """User and password of a request: ClickHouse's headers, else HTTP's basic authentication, else parameters."""
    if "X-ClickHouse-User" in headers:
        return headers["X-ClickHouse-User"], headers.get("X-ClickHouse-Key", "")
    scheme, _, code = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, _, password = base64.b64decode(code).decode(errors="replace").partition(":")
        return name, password
    return own.get("user", "default"), own.get("password", "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together
    timeout = 300  # an idle or stalled client does not hold a thread for ever
    engine = users = None  # set by main

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        parameters = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
        body = self.read_body()
        if body is None:
            self.close_connection = True
        elif url.path == "/ping" or (url.path == "/" and self.command == "GET" and not parameters):
            self.answer(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
        elif url.path != "/":
            text = f"There is no handle {url.path}\n\nUse / or /ping for health checks.\n"
            self.answer(404, text.encode(), {"Content-Type": "text/plain; charset=UTF-8"})
        else:
            self.run(parameters, body)

    do_POST = do_GET

    def read_body(self):
        """The whole body, or None if the client went away before its end."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def run(self, parameters, body):
        own = {name: value for name, value in parameters if name in OWN_PARAMETERS}
        settings = [(name, value) for name, value in parameters if name not in OWN_PARAMETERS]
        headers = {
            "X-ClickHouse-Server-Display-Name": socket.gethostname(),
            "X-ClickHouse-Query-Id": own.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Timezone": "UTC",
        }
        default_format = self.headers.get("X-ClickHouse-Format") or own.get("default_format") or "TabSeparated"
        encoding = self.headers.get("Content-Encoding", "")
        begun = time.monotonic()
        sql, data = split_insert(own.get("query", "").encode(), body)
        shown = (sql["head"] + b" FORMAT " + sql["format"] if data is not None else sql).decode(errors="replace")
        try:
            readonly = self.users.admit(*identity(self.headers, own))
            if encoding and (data is None or encoding not in COMPRESSION):
                raise Refusal(f"Code: 48. DB::Exception: Content-Encoding {encoding} of this body. (NOT_IMPLEMENTED)")
            if not shown.strip():
                raise Refusal(
                    "Code: 62. DB::Exception: Syntax error: failed at position 1: Empty query. (SYNTAX_ERROR)"
                )
            if (readonly or self.command == "GET") and WRITE.match(shown):
                raise Refusal("Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
            result = self.engine.query(
                sql if data is not None else shown,
                data,
                COMPRESSION.get(encoding),
                default_format,
                own.get("database"),
                settings,
            )
        except Refusal as refusal:
            headers["X-ClickHouse-Exception-Code"] = str(refusal.code)
            headers["Content-Type"] = "text/plain; charset=UTF-8"
            text = f"{refusal.text} (version {self.engine.version} (chdb))\n".encode()
            self.answer(refusal.status, text, headers)
            self.note(refusal.status, begun, shown, f"code {refusal.code}")
            return
        rows, size = result.rows_read(), result.bytes_read()
        wrote = shown.lstrip()[:6].upper() == "INSERT"
        summary = {
            "read_rows": rows,
            "read_bytes": size,
            "written_rows": rows if wrote else 0,
            "written_bytes": size if wrote else 0,
            "elapsed_ns": int(result.elapsed() * 1e9),
        }
        headers["X-ClickHouse-Summary"] = json.dumps({k: str(v) for k, v in summary.items()}, separators=(",", ":"))
        if not wrote:
            named = OUTPUT_FORMAT.search(shown)
            headers["X-ClickHouse-Format"] = named.group(1) if named else default_format
        headers["Content-Type"] = CONTENT_TYPE.get(headers.get("X-ClickHouse-Format"), "text/plain; charset=UTF-8")
        self.answer(200, b"" if wrote else result.bytes(), headers)
        self.note(200, begun, shown, f"rows {rows}")

    def answer(self, status, body, headers):
        self.send_response_only(status)  # a real server has no Server header
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "Close" if self.close_connection else "Keep-Alive")
        if not self.close_connection:
            self.send_header("Keep-Alive", "timeout=10")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def note(self, status, begun, shown, outcome):
        took = (time.monotonic() - begun) * 1000
        print(f"{time.time():.3f} {status} {took:.0f}ms {outcome}: {' '.join(shown.split())[:160]}", flush=True)

    def log_message(self, *_):
        """note() is the only log; the default one would repeat every URL."""


def split_insert(url_query, body):
    """(match of INSERT_FORMAT, data) for an insert with data, else (query text, None).

    The server reads one stream: the URL's query, a line feed, the body.
    """
    separator = b"\n" if url_query and body else b""
    whole = url_query + separator + body
    match = INSERT_FORMAT.match(whole)
    if match is None:
        return whole, None
    return match, whole[match.end() :]


def main():
    parser = argparse.ArgumentParser(description="HTTP front on the ClickHouse engine; one per data directory.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", required=True, help="the engine's data directory")
    parser.add_argument("--users", help="who may ask: a JSON file, read at each request; without it everybody")
    arguments = parser.parse_args()
    incoming = os.path.join(arguments.data, "incoming")
    os.makedirs(incoming, exist_ok=True)
    for left_over in os.listdir(incoming):  # bodies of a front that was killed; never half inserted
        os.unlink(os.path.join(incoming, left_over))
    Handler.engine = Engine(os.path.join(arguments.data, "data"), incoming)
    Handler.users = Users(arguments.users)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    # shutdown() waits for serve_forever, which runs in the thread the signal interrupts.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{time.time():.3f} engine {Handler.engine.version} listens on 127.0.0.1:{arguments.port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    Handler.engine.close()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
