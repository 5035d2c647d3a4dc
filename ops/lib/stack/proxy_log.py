"""Reads the proxy's access log; its columns are explained in ops/stack.d/nginx.conf."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    time: float
    status: int
    upstream_status: str
    request_length: int
    content_length: int
    seconds: float
    request: str

    @property
    def is_insert(self):
        return self.request.startswith("POST ") and "INSERT" in self.request

    @property
    def admitted(self):
        """Whether it used the slot and ClickHouse took it."""
        return self.status == 200 and self.upstream_status == "200"


def read(path):
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    # The last line may still be in the writing.
    return [parse(line) for line in text.split("\n")[:-1]]


def parse(line):
    time, status, upstream, length, content, seconds, request = line.split(" ", 6)
    content_length = int(content) if content.isdigit() else 0
    return Line(float(time), int(status), upstream, int(length), content_length, float(seconds), request.strip('"'))
