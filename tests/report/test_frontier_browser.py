"""The page of a frontier in a real browser: it opens without a word, fits a telephone, reads light and dark."""

import shutil

import pytest
from made_up_frontier import made_up

from keyturn.report.frontier_page import write_frontier

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def test_it_opens_reads_and_fits(tmp_path):
    attack = "<img src=x onerror=\"document.title='owned'\">"
    path = write_frontier([made_up(attack)], tmp_path / "report.html", command="c", seconds=1.0)
    asked, said = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for width, scheme, scripts in ((1280, "light", True), (390, "dark", False)):
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=scripts
            )
            page = context.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.goto(path.as_uri())
            page.wait_for_timeout(300)  # for what may be asked for later
            assert page.title().startswith("keyturn frontier: made-up")
            assert page.locator("main").bounding_box()["width"] <= width
            for figure in page.locator("figure").all():
                drawn = [one for one in figure.locator("svg").all() if one.is_visible()]
                assert len(drawn) == 1
                box = drawn[0].bounding_box()
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
            if scripts:
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            context.close()
        browser.close()
    assert [url for url in asked if url != path.as_uri() and not url.startswith("data:")] == []
    assert said == []
