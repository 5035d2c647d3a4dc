"""Is the page right in a real browser? Driven by status_page.rs; prints
what is wrong and exits with 1.

  status_page.py URL            of a Spoolhouse that reaches no Kafka
  status_page.py URL --files N  of one that has so many segments to send
"""

import argparse
import json
import re
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import expect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops/lib"))

from screenshots import states as page_states  # noqa: E402
from screenshots.browser import LOAD_MS_MAX, chromium, page  # noqa: E402

PHONE = 360
WIDTHS = (PHONE, 1280)
CONTRAST_MIN = 4.5
SHIFT_MAX = 0.05  # "good" is below 0.1
ANSWER_SECONDS_MAX = 0.5
ANSWER_BYTES_MAX = 100_000

EXPECTED = {
    "idle": ("Idle: everything is stored", "Nothing needs you."),
    "busy": ("At work", "Nothing needs you."),
    "broken": ("Held up: ClickHouse refuses every batch", page_states.REFUSAL),
    "crowded": ("At work, and 100 files for a person", "and 112K files more"),
    "empty": ("Held: nothing is taken in", "no partitions are assigned"),
}

# Elements with text of their own whose colour is too close to what is behind it.
CONTRAST = """(least) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { rgb: [r, g, b], a };
  };
  const light = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const behind = (element) => {
    const box = element.parentElement?.querySelector(":scope > rect.box");
    if (element.tagName === "text" && box) {
      const fill = getComputedStyle(box).fill;
      if (fill !== "none") return rgb(fill).rgb;
    }
    for (let at = element; at; at = at.parentElement) {
      const { rgb: colour, a } = rgb(getComputedStyle(at).backgroundColor);
      if (a > 250) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility?.()) continue;
    const style = getComputedStyle(element);
    const front = rgb(element instanceof SVGElement ? style.fill : style.color).rgb;
    const [a, b] = [light(front), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) found.push(`${element.tagName} ${element.className?.baseVal ?? element.className} “${element.textContent.slice(0, 30)}” ${ratio.toFixed(2)}`);
  }
  return found;
}"""

# What a screen reader would have no name for.
NAMELESS = """() => [...document.querySelectorAll("button, a, [role=img], section, table, meter, nav")]
  .filter((element) => {
    const by = element.getAttribute("aria-labelledby");
    const words = by ? by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("") : "";
    return !(element.getAttribute("aria-label") || words.trim() || (["BUTTON", "A"].includes(element.tagName) && element.textContent.trim()));
  }).map((element) => element.outerHTML.slice(0, 80))"""

# Texts that run out of their box, or over another text of it.
SPILT = """() => [...document.querySelectorAll("#flow svg g")].flatMap((group) => {
  const box = group.querySelector("rect").getBBox();
  return [...group.querySelectorAll("text")].filter((text) => {
    const at = text.getBBox();
    return at.x < box.x || at.x + at.width > box.x + box.width;
  }).map((text) => text.textContent);
})"""

# What the keyboard is at, and whether it shows.
FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  return [at.id || at.getAttribute("href"), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1];
}"""

SHIFTS = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; }).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})"""


def keys(document, path=""):
    """The keys of a JSON document, lists by their first element."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{path}/{key}"
            yield from keys(value, f"{path}/{key}")
    elif isinstance(document, list) and document:
        yield from keys(document[0], f"{path}/0")


def check_shape(url):
    """A real answer must have each key of a made-up one, where both have something, and no other."""
    real = json.load(urllib.request.urlopen(f"{url}/status.json"))
    made = page_states.empty()
    # What a state that was never sent anything has no content for.
    for part in (real, made):
        part["slot"]["full_batch"] = None
        part["history"]["samples"] = part["history"]["samples"][:1] or page_states.idle()["history"]["samples"][:1]
    if set(keys(real)) != set(keys(made)):
        yield f"made-up states differ from a real one in {sorted(set(keys(real)) ^ set(keys(made)))}"


def check_policy(url):
    answer = urllib.request.urlopen(url)
    policy = answer.headers["content-security-policy"]
    if not policy.startswith("default-src 'none';") or "unsafe" in policy:
        yield f"policy: {policy}"


def looks(tab, width):
    """What must hold of the page whatever it shows."""
    if (scrolled := tab.evaluate("document.documentElement.scrollWidth")) > width:
        yield f"it is {scrolled} wide"
    yield from (f"contrast: {found}" for found in tab.evaluate(CONTRAST, CONTRAST_MIN))
    yield from (f"without a name: {found}" for found in tab.evaluate(NAMELESS))
    yield from (f"out of its box: {found!r}" for found in tab.evaluate(SPILT))


def check_state(browser, url, name, width, scheme):
    state = page_states.STATES[name]()
    wanted_state, wanted_text = EXPECTED[name]
    with page(browser, url, state, width, color_scheme=scheme) as tab:
        said = tab.text_content("#state-text")
        if said != wanted_state:
            yield f"the state is {said!r}, not {wanted_state!r}"
        if wanted_text not in tab.inner_text("#person"):
            yield f"{wanted_text!r} is not shown"
        yield from looks(tab, width)
        shift = tab.evaluate(SHIFTS)
        height = tab.evaluate("document.documentElement.scrollHeight")
        tab.clock.run_for(6_000)
        if (later := tab.evaluate("document.documentElement.scrollHeight")) != height:
            yield f"its height went from {height} to {later} although nothing happened"
        if max(shift, tab.evaluate(SHIFTS)) > SHIFT_MAX and name != "crowded":
            yield f"the layout shifts by {shift:.3f}"
        if tab.title() == "taken" or tab.locator("main img, main script").count():
            yield "text from outside became a part of the page"
        rows = tab.locator("#requests tbody tr").count()
        if rows != min(20, len(state["attempts"])):
            yield f"{rows} requests are shown"
        yield from tab.problems


def check_keyboard(browser, url):
    with page(browser, url, page_states.busy()) as tab:
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.className") != "skip":
            yield "the first key does not reach the way past the header"
        tab.keyboard.press("Enter")
        if tab.evaluate("document.activeElement.id") != "main":
            yield "the way past the header does not lead to the figures"
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.focus("#hold")
        tab.keyboard.press("Space")
        asked.clear()
        tab.clock.run_for(5_000)
        tab.wait_for_timeout(0)  # what was asked is told meanwhile
        if asked or tab.get_attribute("#hold", "aria-pressed") != "true":
            yield "it can't be held still"
        tab.keyboard.press("Space")
        with tab.expect_request("**/status.json*"):  # or it does not go on
            tab.clock.run_for(5_000)
        yield from tab.problems


def check_tabs(browser, url):
    """The tabulator reaches everything that can be used, in the order of the page, and shows where it is."""
    wanted = ["#main", "hold", "metrics", "status.json", "readyz", "healthz"]
    with page(browser, url, page_states.busy(), PHONE) as tab:
        reached = []
        for _ in wanted:
            tab.keyboard.press("Tab")
            reached.append(tab.evaluate(FOCUSED))
        if [name for name, _ in reached] != wanted:
            yield f"the tabulator goes {[name for name, _ in reached]}"
        yield from (f"nobody sees that {name} is chosen" for name, shown in reached if not shown)


def check_motion(browser, url):
    moves = "document.getAnimations().filter((one) => one.playState === 'running').length"
    for reduced, wanted in (("no-preference", True), ("reduce", False)):
        with page(browser, url, page_states.busy(), reduced_motion=reduced) as tab:
            if (tab.evaluate(moves) > 0) != wanted:
                yield f"with {reduced} there are {tab.evaluate(moves)} movements"


def check_silence(browser, url):
    """A server that does not answer any more is told."""
    with page(browser, url, page_states.idle()) as tab:
        tab.unroute("**/status.json*")
        tab.route("**/status.json*", lambda route: route.abort())
        tab.clock.run_for(3_000)
        expect(tab.locator("#state-text")).to_have_text(re.compile("^No answer"), timeout=LOAD_MS_MAX)


def check_real(browser, url):
    """The real server, as it is: it reaches no Kafka."""
    with page(browser, url) as tab:
        expect(tab.locator("#state-text")).to_have_text("Held: nothing is taken in", timeout=LOAD_MS_MAX)
        if "no partitions are assigned" not in tab.inner_text("#person"):
            yield "it does not say why"
        yield from tab.problems


def check_large(browser, url, files, width):
    """The real server in front of very many files: its answer stays small and quick, and the page as it should be."""
    begun = time.monotonic()
    answer = urllib.request.urlopen(f"{url}/status.json").read()
    if (took := time.monotonic() - begun) > ANSWER_SECONDS_MAX or len(answer) > ANSWER_BYTES_MAX:
        yield f"status.json has {len(answer)} bytes and takes {took:.2f} s"
    with page(browser, url, width=width) as tab:
        expect(tab.locator("#flow")).to_contain_text("100K files", timeout=LOAD_MS_MAX)
        expect(tab.locator("#waiting-aside")).to_contain_text("100K files", timeout=LOAD_MS_MAX)
        # Right after a start nobody has counted yet; the page shows that somebody has.
        rooms = json.loads(urllib.request.urlopen(f"{url}/status.json").read())["rooms"]
        if rooms["ready"]["files"] < 0.99 * files:  # some are in a batch
            yield f"the rooms hold {rooms}"
        yield from looks(tab, width)
        yield from tab.problems


def given():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--files", type=int)
    return parser.parse_args()


def main():
    arguments = given()
    url, problems = arguments.url, []

    def check(what, found):
        problems.extend(f"{what}: {problem}" for problem in found or ())

    def check_all(browser):
        check("status.json", check_shape(url))
        check("policy", check_policy(url))
        check("real", check_real(browser, url))
        for place, name in enumerate(page_states.STATES):
            for width in WIDTHS:
                for scheme in ("light", "dark") if name == "broken" else (("light", "dark")[place % 2],):
                    check(f"{name}, {width} px, {scheme}", check_state(browser, url, name, width, scheme))
        check("keyboard", check_keyboard(browser, url))
        check("tabulator", check_tabs(browser, url))
        check("motion", check_motion(browser, url))
        check("silence", check_silence(browser, url))

    with chromium() as browser:
        if arguments.files:
            for width in WIDTHS:
                check(f"{arguments.files} files, {width} px", check_large(browser, url, arguments.files, width))
        else:
            check_all(browser)
    print("\n".join(problems) or "the page is as it should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
