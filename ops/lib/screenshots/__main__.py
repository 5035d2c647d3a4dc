"""Takes the pictures of the status page: a real server, made-up figures.

Invariant: the same page makes the same pictures; nothing that runs is asked for
them.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile

from screenshots.browser import NoBrowser, chromium, page
from screenshots.states import STATES
from stack.parts import ROOT

PICTURES = ROOT / "ops/pictures"
# Name, state, width, colours, and the heading of the last part that is shown.
WANTED = [
    ("status-idle", "idle", 1120, "light", "past-title"),
    ("status-busy", "busy", 1120, "light", "past-title"),
    ("status-broken", "broken", 1120, "dark", "past-title"),
    ("status-phone", "busy", 360, "dark", "flow-title"),
]
HEIGHT = 985
MARGIN = 12


@contextlib.contextmanager
def server():
    """A Spoolhouse of its own that reaches no Kafka; gives its URL."""
    with tempfile.TemporaryDirectory() as directory:
        env = os.environ | {"SPOOLHOUSE_KAFKA__BROKERS": "127.0.0.1:1", "SPOOLHOUSE_OBSERVE__LISTEN": "127.0.0.1:0"}
        process = subprocess.Popen(
            [ROOT / "target/debug/spoolhouse", "run"], cwd=directory, env=env, stderr=subprocess.PIPE, text=True
        )
        try:
            for line in process.stderr:
                if "listen=" in line:
                    yield f"http://{line.split('listen=')[1].split()[0]}"
                    return
            raise NoBrowser("spoolhouse did not start")
        finally:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(
        prog="ops/screenshots",
        description="Takes the pictures of the status page with made-up figures, into "
        "ops/pictures/: " + ", ".join(f"{name}.png" for name, *_ in WANTED) + ".",
    )
    parser.add_argument("--url", help="of a server that runs already; its own figures are not shown")
    given = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext(given.url) if given.url else server() as url, chromium() as browser:
        for name, state, width, colours, last in WANTED:
            with page(browser, url, STATES[state](), width, HEIGHT, color_scheme=colours) as tab:
                path = PICTURES / f"{name}.png"
                # Whole parts, so that nothing is cut through.
                end = tab.locator(f"section[aria-labelledby={last}]").bounding_box()
                clip = {"x": 0, "y": 0, "width": width, "height": end["y"] + end["height"] + MARGIN}
                tab.screenshot(path=path, animations="disabled", full_page=True, clip=clip)
                print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
                for problem in tab.problems:
                    print(f"{name}: {problem}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except NoBrowser as error:
        sys.exit(f"ops/screenshots: {error}")
