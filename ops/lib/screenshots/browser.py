"""Debian's Chromium without a window, and the page of a Spoolhouse in it.

Invariant: everything that the page loads comes from the server under test, but
for /status.json when a state is given.
"""

import contextlib
import json
import shutil

from playwright.sync_api import expect, sync_playwright

LOAD_MS_MAX = 60_000  # on a machine with other things to do


class NoBrowser(Exception):
    """Something a person can act on; printed as it is."""


@contextlib.contextmanager
def chromium():
    path = shutil.which("chromium")
    if path is None:
        raise NoBrowser("there is no chromium; ops/setup --with-chromium installs it")
    with sync_playwright() as playwright:
        # Containers give a process neither namespaces nor much shared memory.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page(browser, url, state=None, width=1120, height=900, **options):
    """The page with `state` in it; `problems` on it collects what the console and the network complain of."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale="en-GB", timezone_id="UTC", **options
    )
    context.set_default_timeout(LOAD_MS_MAX)
    tab = context.new_page()
    tab.problems = []
    tab.on("console", lambda said: tab.problems.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("requestfailed", lambda request: tab.problems.append(f"{request.url}: {request.failure}"))
    if state is not None:
        # Its time is the page's own clock, so that countdowns stand still.
        tab.clock.install(time=state["live"]["at_ms"] / 1000)
        body = json.dumps(state)
        tab.route("**/status.json*", lambda route: route.fulfill(body=body, content_type="application/json"))
    tab.goto(url, wait_until="load")
    # Not by a function of ours: the page's policy forbids to make one of a text.
    expect(tab.locator("#state-text")).not_to_have_text("Asking …", timeout=LOAD_MS_MAX)
    try:
        yield tab
    finally:
        context.close()
