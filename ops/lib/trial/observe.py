"""What a spoolhouse says of itself: over HTTP while it runs, by `spoolhouse status` at any time."""

import json
import urllib.request

from trial.run import output_of


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def metrics(port):
    """{name with its labels: value} of /metrics."""
    found = {}
    for line in get(port, "/metrics").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def total(found, name):
    """The sum of one metric over its labels."""
    return sum(value for labelled, value in found.items() if labelled.partition("{")[0] == name)


def page(port):
    """The document /status.json."""
    return json.loads(get(port, "/status.json"))


def status(binary, config):
    """What `spoolhouse status` says of the spool of this configuration."""
    return json.loads(output_of([binary, "status", "--json", "--config", config], "status", cwd=config.parent))
