"""The page in a real browser: nothing runs that is not ours, nothing loads, keys reach everything."""

import shutil
from pathlib import Path

import pytest
from hostile_audit import all_attacks, hostile

from keyturn.report import write_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


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
        self.page.wait_for_load_state("networkidle")
        self.asked = [url for url in self.requests if url != path.as_uri() and not url.startswith("data:")]


def opened(browser, path, **options):
    context = browser.new_context(**options)
    return context, Watched(context, path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_a_word(browser, path, scheme):
    context, watched = opened(browser, path, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    assert watched.asked == watched.dialogs == watched.complaints == []
    dark = watched.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (dark == "rgb(19, 21, 25)") is (scheme == "dark")
    context.close()


@pytest.mark.parametrize("width", [360, 420, 768, 1280])
def test_no_width_scrolls_sideways(browser, path, width):
    context, watched = opened(browser, path, viewport={"width": width, "height": 900})
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
    assert watched.dialogs, "without the policy the same page does alert: the test can see it"
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
    for _ in range(600):
        page.keyboard.press("Tab")
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
    assert page.locator("figure details:not(.long) table").first.is_visible()
    assert page.locator("details.long").first.is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.pdf(path=str(tmp_path / "report.pdf"))
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    context.close()


def test_nothing_moves_for_those_who_ask_for_stillness(browser, path):
    context, watched = opened(browser, path, reduced_motion="reduce")
    assert watched.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert (
        watched.page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
    )
    context.close()
