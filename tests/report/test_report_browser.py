"""The page in a real browser: nothing runs that is not ours, nothing loads, keys reach everything."""

import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile_audit import all_attacks, hostile
from made_up_audit import lucky

from keyturn.report import write_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LATE_MS = 500
"""How long a page is watched after all that it names was loaded, for what its scripts may ask for later."""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def path(audits, tmp_path_factory):
    return write_report(audits, tmp_path_factory.mktemp("report") / "report.html", command="c", seconds=1.0)


class Watched:
    """A page that remembers what it asked for and what it complained of."""

    def __init__(self, context, path: Path):
        self.requests, self.dialogs, self.complaints = [], [], []
        self.page = context.new_page()
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("dialog", lambda d: (self.dialogs.append(d.message), d.dismiss()))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(path.as_uri())
        # Not "networkidle": on a busy machine Playwright sometimes misses the end of a request that is refused,
        # and waits for it for ever.
        self.page.wait_for_timeout(LATE_MS)
        self.asked = [url for url in self.requests if url != path.as_uri() and not url.startswith("data:")]


def opened(browser, path, **options):
    context = browser.new_context(**options)
    return context, Watched(context, path)


def unfold(page):
    """Open whatever is folded."""
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_a_word(browser, path, scheme):
    context, watched = opened(browser, path, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    assert watched.asked == watched.dialogs == watched.complaints == []
    dark = watched.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (dark == "rgb(19, 21, 25)") is (scheme == "dark")
    context.close()


# 320 is what a page of 1280 has at a zoom of 400 %, 640 at one of 200 %.
@pytest.mark.parametrize("width", [320, 360, 390, 420, 640, 768, 1280])
def test_no_width_scrolls_sideways(browser, path, width):
    context, watched = opened(browser, path, viewport={"width": width, "height": 900})
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    unfold(watched.page)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    shown = "[...document.querySelectorAll('figure')].map(f => [...f.querySelectorAll('svg')]"
    counts = watched.page.evaluate(f"{shown}.filter(s => s.getBoundingClientRect().width > 0).length)")
    assert set(counts) == {1}, "one of the two drawings is shown"
    context.close()


def test_hostile_text_does_nothing(browser, audits, tmp_path):
    plain = write_report(audits, tmp_path / "plain.html", command="c", seconds=1.0)
    attacked = write_report(
        [hostile(a) for a in audits], tmp_path / "attacked.html", command=all_attacks(), seconds=1.0
    )
    kinds = {}
    for name, file in (("plain", plain), ("attacked", attacked)):
        context, watched = opened(browser, file)
        assert watched.asked == watched.dialogs == watched.complaints == [], name
        page = watched.page
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("document.querySelectorAll('img, iframe, form, base, object, embed').length") == 0
        handlers = (
            "[...document.querySelectorAll('*')].filter(e => e.getAttributeNames().some(n => n.startsWith('on')"
        )
        assert page.evaluate(f"{handlers} || n === 'style')).length") == 0
        kinds[name] = set(
            page.evaluate("[...new Set([...document.querySelectorAll('*')].map(e => e.localName))]")
        )
        if name == "attacked":
            unfold(page)
            page.locator(".tokens .t").first.click()
            shown = page.locator(".panel dd").nth(1).inner_text()
            assert "<script>" in shown, "the side panel shows the token as text"
            assert watched.dialogs == []
        context.close()
    assert kinds["attacked"] <= kinds["plain"]


def test_the_policy_stops_what_slips_through(browser, path, tmp_path):
    slipped = tmp_path / "slipped.html"
    planted = "<script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>"
    slipped.write_text(path.read_text("utf-8").replace("</footer>", f"{planted}</footer>"), "utf-8")
    context, watched = opened(browser, slipped)
    assert watched.dialogs == []
    assert any("Content Security Policy" in text for text in watched.complaints)
    context.close()
    unguarded = tmp_path / "unguarded.html"
    unguarded.write_text(slipped.read_text("utf-8").replace("Content-Security-Policy", "x"), "utf-8")
    context, watched = opened(browser, unguarded)
    assert watched.dialogs == ["1", "2"], "without the policy the same page does alert: the test can see it"
    context.close()


def test_it_is_readable_without_scripts(browser, path, audits):
    context, watched = opened(browser, path, java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = watched.page
    for result in audits:
        assert page.get_by_text(result.verdict.why).first.is_visible()
    assert page.locator(".theme").is_hidden()
    assert page.locator(".copy").first.is_hidden()
    details = page.locator("figure details").first
    details.locator("summary").click()
    assert details.locator("table").is_visible()
    page.locator("#a1-spans > summary").click()
    token = page.locator(".tokens .fork").first
    before = token.evaluate("e => getComputedStyle(e).backgroundColor")
    page.locator("input[value=shift]").first.check()
    assert token.evaluate("e => getComputedStyle(e).backgroundColor") != before
    context.close()


def test_the_keyboard_reaches_and_leaves_everything(browser, path):
    context, watched = opened(browser, path)
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    stops, lists = [], 0
    for _ in range(1500):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('details:not([open]) > summary')"):
            page.keyboard.press("Enter")
        stop = page.evaluate(
            "(() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.localName, e.className, s.outlineStyle !== 'none' || s.boxShadow !== 'none', e === "
            "document.body]; })()"
        )
        if stop[3]:
            break
        stops.append(stop)
        lists += "t" in str(stop[1]).split()
    assert stops[-1][0] in {"pre", "summary", "button", "div"}, "the walk ends at the end of the page"
    assert all(visible for *_, visible, _ in stops), [s for s in stops if not s[2]][:3]
    assert {"button", "summary", "a", "input", "bdi", "div"} <= {s[0] for s in stops}
    assert lists == page.evaluate("document.querySelectorAll('.tokens').length"), "one stop a completion"
    context.close()


def test_keys_walk_the_tokens(browser, path):
    context, watched = opened(browser, path)
    page = watched.page

    def panel():
        open_panels = "[...document.querySelectorAll('.tokens')].find(l => l.contains(document.activeElement))"
        return page.evaluate(
            f"[...{open_panels}.parentElement.querySelectorAll('.panel dd')].map(d => d.textContent)"
        )

    unfold(page)
    page.locator(".tokens .t").first.focus()
    assert panel()[:2] == ["0", "FWD"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("l")
    assert panel()[0] == "2"
    page.keyboard.press("h")
    assert panel()[0] == "1"
    page.keyboard.press("End")
    assert panel()[:3] == ["33", " 6", "answer"]
    page.keyboard.press("Home")
    assert panel()[0] == "0"
    page.keyboard.press("n")
    assert "fork" in page.evaluate("document.activeElement.className")
    page.keyboard.press("d")
    assert page.evaluate("document.activeElement.closest('.completion').id") == "a1-span1-sibling"
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('.completion').id") == "a1-span2"
    page.keyboard.press("]")
    assert page.locator("input[value=shift]").first.is_checked()
    exact = page.locator("#a1-span2-values tbody tr").first.locator("td").all_text_contents()
    assert panel() == exact
    context.close()


def test_the_theme_is_a_choice(browser, path):
    context, watched = opened(browser, path, color_scheme="light")
    page = watched.page
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="dark").click()
    assert page.evaluate(colour) != light
    assert page.get_by_role("button", name="dark").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="auto").click()
    assert page.evaluate(colour) == light
    context.close()


def test_paper_is_light_and_shows_the_data(browser, path, tmp_path):
    context, watched = opened(browser, path, color_scheme="dark")
    page = watched.page
    page.get_by_role("button", name="dark").click()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".theme").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    for part in (
        ".fold.part .says",
        ".fold.part figure svg",
        "#a1-pass-verified-f .data table",
        ".data .reading",
    ):
        assert page.locator(part).first.is_visible(), part
    for part in ("details.listing", ".data.long table", "#markdown"):
        assert page.locator(part).first.is_hidden(), part
    # A page ends between figures, never within one, nor between a title and what it names.
    kept = "[...document.querySelectorAll('.plate, .card, .completion, .opening')]"
    assert set(page.evaluate(f"{kept}.map(e => getComputedStyle(e).breakInside)")) == {"avoid"}
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 0
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    context.close()


def test_paper_shows_what_is_folded_without_scripts(browser, path):
    context, watched = opened(browser, path, java_script_enabled=False)
    watched.page.emulate_media(media="print")
    assert watched.page.locator(".fold.part figure svg").first.is_visible()
    context.close()


@pytest.mark.parametrize(("width", "most"), [(1280, 7_500), (390, 12_000)])
def test_two_audits_are_a_short_page(browser, path, width, most):
    context, watched = opened(browser, path, viewport={"width": width, "height": 900})
    assert watched.page.evaluate("document.documentElement.scrollHeight") < most
    context.close()


LONG_NAME = {"topic": "competition mathematics, high school, number theory and combinatorics, level five"}


@pytest.mark.parametrize("label", ["deployed (elicited)", "nothing measured", "created"])
def test_the_verdict_column_is_seen_on_a_telephone(browser, audits, tmp_path, label):
    cells = tuple(replace(c, key=LONG_NAME, verdict=replace(c.verdict, label=label)) for c in audits[0].cells)
    file = write_report([replace(audits[0], cells=cells)], tmp_path / "r.html", command="c", seconds=1.0)
    context, watched = opened(browser, file, viewport={"width": 390, "height": 900})
    columns = watched.page.evaluate(
        "[...document.querySelectorAll('.numbers tbody tr')].map(r => [1, 2].map(i => r.cells[i])"
        ".map(c => c.getBoundingClientRect().right))"
    )
    assert all(verdict <= 390 and gain <= 390 for verdict, gain in columns), (
        "verdict and gain without scrolling"
    )
    page = watched.page
    page.evaluate("document.querySelector('.numbers').scrollLeft = 300")
    name = page.evaluate("document.querySelector('.numbers tbody th').getBoundingClientRect().left")
    assert 0 <= name < 60, "the name stays beside its numbers"
    context.close()


COLLISIONS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg[role=img]')) {
    const around = svg.getBoundingClientRect();
    if (!around.width) continue;
    const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    boxes.forEach(([words, a], i) => {
      const sides = Math.max(around.left - a.left, a.right - around.right);
      if (Math.max(sides, around.top - a.top, a.bottom - around.bottom) > 3)
        found.push(['beyond its drawing', words, svg.querySelector('title').textContent]);
      for (const [other, b] of boxes.slice(i + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
          found.push([words, other, svg.querySelector('title').textContent]);
    });
  }
  return found;
}"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["made up", "hostile", "long names", "close notes"])
def test_no_label_lies_over_another(browser, audits, tmp_path, width, kind):
    shown = list(audits)
    if kind == "hostile":
        # Nothing that a stranger wrote makes the page wider either.
        shown = [hostile(a) for a in audits]
    if kind == "long names":
        shown = [replace(a, cells=tuple(replace(c, key=LONG_NAME) for c in a.cells)) for a in audits]
    if kind == "close notes":
        shown = [
            replace(a, verdict=replace(a.verdict, flips_at=a.verdict.k / 2), measurements=met(a))
            for a in audits
        ]
    file = write_report([lucky(a) for a in shown], tmp_path / "r.html", command="c", seconds=1.0)
    context, watched = opened(browser, file, viewport={"width": width, "height": 900})
    unfold(watched.page)
    assert watched.page.evaluate(COLLISIONS) == []
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def met(result):
    """Curves that meet just beside the budget."""
    found = {"value": result.verdict.k - 1.0, "low": 1.0, "high": math.inf}
    return tuple(replace(m, **found) if m.name == "crossing" else m for m in result.measurements)


def test_a_link_opens_what_it_leads_to(browser, path):
    context, watched = opened(browser, path, viewport={"width": 1280, "height": 900})
    page = watched.page
    page.locator(".contents a[href='#a1-weights']").click()
    assert page.locator("#a1-weights figure").first.is_visible()
    again = Watched(context, path)
    again.page.goto(f"{path.as_uri()}#a2-tokens")
    assert again.page.locator("#a2-tokens figure").first.is_visible()
    context.close()


def test_every_control_and_region_has_a_name(browser, path):
    context, watched = opened(browser, path)
    page = watched.page
    unfold(page)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('a, button, summary, input, nav, [role=region], [role=group], "
        "[role=listbox]')]"
        ".filter(e => !(e.innerText || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || "
        "(e.labels && e.labels.length))).map(e => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    landmarks = page.evaluate(
        "['header', 'nav', 'main', 'footer'].map(n => document.querySelectorAll(`body ${n}`).length)"
    )
    assert all(landmarks)
    assert page.evaluate("[...document.querySelectorAll('th')].every(h => h.scope)")
    context.close()


def test_hundreds_of_long_completions_still_open_at_once(browser, audits, tmp_path):
    size = 32_000
    one = audits[0].spans[0]
    unknown = np.zeros(size, dtype=np.float32)
    long = replace(
        one, text=(" token",) * size, role=("unknown",) * size, entropy=unknown, logprob=unknown,
        base_logprob=unknown, sibling=None,
    )  # fmt: skip
    started = time.process_time()
    file = write_report(
        [replace(audits[0], spans=(long,) * 64), audits[1]], tmp_path / "r.html", command="c", seconds=1.0
    )
    written = time.process_time() - started
    assert file.stat().st_size < 8_000_000
    context = browser.new_context()
    watched = Watched(context, file)
    # Processor time of the page, since other processes decide how long that takes.
    session = context.new_cdp_session(watched.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    watched.page.reload(wait_until="domcontentloaded")
    spent = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["TaskDuration"] < 2
    assert written < 20
    assert "more tokens are not shown" in watched.page.content()
    context.close()


def test_nothing_moves_for_those_who_ask_for_stillness(browser, path):
    context, watched = opened(browser, path, reduced_motion="reduce")
    assert watched.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert (
        watched.page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
    )
    context.close()
