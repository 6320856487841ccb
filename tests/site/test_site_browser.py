"""The site in a real browser, from disk and without a network: looks, keys, widths, themes, accessibility."""

import shutil
from importlib import resources

import pytest

from keyturn.site.build import write_site

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
KINDS = (
    "index.html",
    "map.html",
    "topics/index.html",
    "topics/create-or-deploy.html",
    "notes/latent-reasoning.html",
    "notes/one-example.html",
    "claims/index.html",
    "claims/one-example-nearly-suffices.html",
    "claims/dapo-keeps-entropy.html",
    "questions/index.html",
    "questions/create-or-deploy.html",
    "questions/early-and-late-skills.html",
    "papers/index.html",
    "papers/2504.20571.html",
    "methods/index.html",
    "methods/one-shot.html",
    "records/index.html",
    "RECORD",
    "next.html",
    "changes.html",
    "trust.html",
    "about.html",
)
"""One page of each kind; RECORD stands for the record of a claim whose rows ship."""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(site, tmp_path_factory):
    return write_site(site.items(), tmp_path_factory.mktemp("a folder") / "with 'quotes' & umläut").out


@pytest.fixture(scope="module")
def record(source):
    return f"records/{source.known.of('one-example-nearly-suffices')[0].id}.html"


class Watched:
    """A page that remembers what it asked for beyond its folder, and what it complained of."""

    def __init__(self, browser, folder, **options):
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.folder, self.foreign, self.complaints = folder, [], []
        self.page.on("request", lambda r: self._asked(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))

    def _asked(self, url):
        if not url.startswith((self.folder.as_uri(), "data:")):
            self.foreign.append(url)

    def go(self, path):
        self.page.goto(f"{self.folder.as_uri()}/{path}")
        self.page.wait_for_load_state("load")
        return self.page

    @property
    def path(self):
        return self.page.url.partition("#")[0].removeprefix(self.folder.as_uri() + "/")


@pytest.fixture
def opened(browser, folder):
    found = []

    def make(**options):
        found.append(Watched(browser, folder, **options))
        return found[-1]

    yield make
    for one in found:
        one.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_kind_of_page_opens_without_a_word(opened, record, scheme, width):
    watched = opened(color_scheme=scheme, viewport={"width": width, "height": 900})
    for kind in KINDS:
        page = watched.go(kind.replace("RECORD", record))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, kind
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (ground == "rgb(19, 21, 25)") is (scheme == "dark"), kind
    assert watched.foreign == watched.complaints == []


@pytest.mark.parametrize("width", [320, 360, 700, 768, 992])
def test_no_width_scrolls_sideways(opened, record, width):
    """320 is what a page of 1280 has at a zoom of 400 %, 640 at one of 200 %."""
    watched = opened(viewport={"width": width, "height": 900})
    for kind in KINDS:
        page = watched.go(kind.replace("RECORD", record))
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, kind


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, record, scheme):
    axe = (
        resources.files(pytest.importorskip("axe_playwright_python")).joinpath("axe.min.js").read_text("utf-8")
    )
    watched = opened(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}"
    found = {}
    for kind in KINDS:
        page = watched.go(kind.replace("RECORD", record))
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        page.evaluate(axe)
        said = page.evaluate(f"axe.run(document, {rules})")
        broken = [(v["id"], [n["html"][:160] for n in v["nodes"][:2]]) for v in said["violations"]]
        if broken:
            found[kind] = broken
    assert not found


def test_axe_would_find_something(opened):
    axe = (
        resources.files(pytest.importorskip("axe_playwright_python")).joinpath("axe.min.js").read_text("utf-8")
    )
    page = opened().go("about.html")
    page.evaluate("document.querySelector('h1').style.color = '#eeeeee'; document.title = ''")
    page.evaluate(axe)
    found = {v["id"] for v in page.evaluate("axe.run(document)")["violations"]}
    assert {"color-contrast", "document-title"} <= found


def test_without_a_script_everything_is_there_and_nothing_is_dead(opened, record):
    watched = opened(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    for kind in KINDS:
        page = watched.go(kind.replace("RECORD", record))
        assert page.locator("main h1").is_visible(), kind
        assert len(page.locator("main").inner_text()) > 200, kind
        for idle in (".find", ".theme", ".filters", ".copy"):
            for one in page.locator(idle).all():
                assert not one.is_visible(), (kind, idle)


def test_a_narrow_screen_has_lists_for_maps(opened):
    watched = opened(viewport={"width": 690, "height": 900})
    for path in ("map.html", "notes/latent-reasoning.html", "index.html"):
        page = watched.go(path)
        assert page.locator("svg.map >> visible=true").count() == 0, path
    page = watched.go("notes/latent-reasoning.html")
    lists = page.locator(".compass-lists section")
    assert lists.count() == 3
    assert lists.nth(1).locator("a").first.is_visible()


def test_search_finds_by_key_alone(opened):
    watched = opened(viewport={"width": 1280, "height": 900})
    page = watched.go("trust.html")
    page.keyboard.press("/")
    page.keyboard.type("one exampel", delay=5)
    page.wait_for_selector("#found [role=option] >> text=/one.*example/i")
    assert page.locator("#find").get_attribute("aria-expanded") == "true"
    first = page.locator("#found [aria-selected=true]").inner_text()
    page.keyboard.press("ArrowDown")
    assert page.locator("#found [aria-selected=true]").inner_text() != first
    page.keyboard.press("ArrowUp")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_load_state("load")
    assert "example" in page.locator("h1").inner_text().lower()
    page.keyboard.press("/")
    page.keyboard.type("zzzzqqq")
    page.wait_for_selector("#found .none")
    page.keyboard.press("Escape")
    assert not page.locator("#found").is_visible()
    assert watched.foreign == watched.complaints == []


def test_arrow_keys_walk_over_a_map_and_enter_opens(opened):
    watched = opened(viewport={"width": 1280, "height": 900})
    page = watched.go("map.html")
    nodes = page.locator("svg.map a.node")
    order = [n.get_attribute("data-id") for n in nodes.all()]
    nodes.first.focus()
    seen = [page.evaluate("document.activeElement.dataset.id")]
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        seen.append(page.evaluate("document.activeElement.dataset.id"))
    assert len(set(seen)) > 2
    assert set(seen) <= set(order)
    assert page.locator(".why-line").inner_text().strip()
    assert page.locator("svg.map.walking .rel.near").count() > 0
    at = page.evaluate("document.activeElement.dataset.id")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_load_state("load")
    assert watched.path == f"notes/{at}.html"


def test_a_compass_walks_and_its_middle_goes_back_to_the_text(opened):
    watched = opened(viewport={"width": 1280, "height": 900})
    page = watched.go("notes/one-example.html")
    with page.expect_navigation():
        page.locator("#around a.node", has_text="hidden").first.click()
    page.wait_for_load_state("load")
    assert watched.path == "notes/latent-reasoning.html"
    assert page.url.endswith("#around")
    top = "document.getElementById('around').getBoundingClientRect().top"
    for _ in range(50):  # the page may glide there
        if page.evaluate(top) < 400:
            break
        page.wait_for_timeout(100)
    assert page.evaluate(top) < 400
    page.locator('#around a.node[href="#main"]').click()
    assert page.url.endswith("#main")


def test_filters_narrow_the_questions(opened):
    page = opened(viewport={"width": 1280, "height": 900}).go("questions/index.html")
    total = page.locator("[data-row]").count()
    page.select_option('[data-by="answerable"]', "yes")
    some = page.locator("[data-row]:visible").count()
    assert 0 < some < total
    assert page.locator("#all-count").inner_text() == f"{some} of {total} shown"
    page.fill('[data-by="words"]', "zzzz")
    assert page.locator("[data-row]:visible").count() == 0
    page.fill('[data-by="words"]', "")
    page.select_option('[data-by="answerable"]', "")
    folded = page.locator("[data-row]:visible").count()
    assert 0 < folded < total, "without a filter the topics fold again"
    page.locator("[data-unfold]").click()
    assert page.locator("[data-row]:visible").count() == total
    page = opened().go("questions/index.html#topic=create%20or%20deploy")
    assert {row.get_attribute("data-topic") for row in page.locator("[data-row]:visible").all()} == {
        "create or deploy"
    }


def test_a_chosen_theme_stays_from_page_to_page(opened):
    watched = opened(color_scheme="light", viewport={"width": 1280, "height": 900})
    page = watched.go("index.html")
    page.locator('.theme button[data-set="dark"]').click()
    page = watched.go("claims/index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(19, 21, 25)"


def test_paper_is_light_and_whole(opened):
    watched = opened(color_scheme="dark", viewport={"width": 1280, "height": 900})
    page = watched.go("questions/create-or-deploy.html")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".find").is_visible()
    assert page.locator(".answer .prose").is_visible()
    assert len(page.pdf()) > 10_000


def test_the_policy_stops_what_slips_through(browser, folder):
    page_file = folder / "about.html"
    planted = (
        "<script>document.title = 'run'</script><img src=http://127.0.0.1:9/x onerror=document.title='run'>"
    )
    slipped = folder / "slipped.html"
    slipped.write_text(page_file.read_text("utf-8").replace("</footer>", f"{planted}</footer>"), "utf-8")
    watched = Watched(browser, folder)
    page = watched.go("slipped.html")
    assert page.title() != "run"
    assert any("Content Security Policy" in text for text in watched.complaints)
    watched.context.close()
    slipped.unlink()


# A researcher's five questions, each from the home page by the keyboard alone.


def tab_to(page, name, most=60):
    """Press Tab until a link of that name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.textContent.trim().replace(/\\s+/g, ' ')")
        if name in focused:
            return
    raise AssertionError(f"no Tab leads to {name!r}")


@pytest.fixture
def home(opened):
    watched = opened(viewport={"width": 1280, "height": 900})
    watched.go("index.html")
    return watched


def enter(watched):
    with watched.page.expect_navigation():
        watched.page.keyboard.press("Enter")
    watched.page.wait_for_load_state("load")


def test_which_published_claims_fail_here_and_why(home, source):
    tab_to(home.page, "Which published claims fail here")
    enter(home)
    assert home.path == "claims/index.html"
    section = home.page.locator("section", has=home.page.locator("#contradicted")).last
    assert section.locator("h2").is_visible()
    failing = [c for c, v in source.verdicts.items() if v.state == "contradicted"]
    assert section.locator("ul.claims > li").count() == len(failing) > 0
    first = section.locator("ul.claims > li").first.inner_text()
    assert "needed" in first
    assert "[" in first, "the number with its interval is the reason"


def test_what_contradicts_rl_only_deploys(home):
    tab_to(home.page, "What contradicts")
    enter(home)
    assert home.path == "questions/create-or-deploy.html"
    tensions = home.page.locator("#tensions")
    assert tensions.is_visible()
    assert tensions.locator(".duels > li").count() >= 1
    assert "stands against" in tensions.inner_text()


def test_what_would_change_the_verdict_on_one_example(home):
    tab_to(home.page, "What would change the verdict")
    enter(home)
    assert home.path == "claims/one-example-nearly-suffices.html"
    said = home.page.locator("#change")
    assert said.is_visible()
    assert "bound" in said.inner_text()
    assert "keyturn claim run one-example-nearly-suffices --seed" in said.inner_text()


def test_which_experiment_would_settle_most(home):
    tab_to(home.page, "Which experiment would settle most")
    enter(home)
    assert home.path == "next.html"
    first = home.page.locator(".plan").first
    assert first.is_visible()
    assert "wait for it" in first.inner_text()


def test_where_a_number_comes_from_down_to_its_rows(home, source):
    tab_to(home.page, "Where does a number come from")
    enter(home)
    assert home.path.startswith("records/")
    rows = home.page.locator("#rows tbody tr")
    record = home.path.removeprefix("records/").removesuffix(".html")
    assert rows.count() == len(source.details(source.records[record])["rows"]) > 1
    # And any number of an answer leads there: from the flagship's first clause to its record.
    home.go("questions/create-or-deploy.html")
    tab_to(home.page, "record ", most=80)
    enter(home)
    assert home.path.startswith("records/")
