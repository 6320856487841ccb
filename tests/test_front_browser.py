"""What an audit shows in a notebook, in a real browser: it reads in light and dark, nothing runs or loads."""

import shutil

import pytest

import keyturn

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def records(name, every):
    return [
        {"problem_id": f"p{p}", "subject": HOSTILE if p % 2 else "plain", "completion": f"{name} {p} {d}"}
        | {"is_correct": (p + d) % every == 0}
        for p in range(40)
        for d in range(64)
    ]


@pytest.fixture(scope="module")
def fragment():
    return keyturn.audit(records("base", 9), records("tuned", 2), k=16)._repr_html_()


@pytest.mark.parametrize("ink", [("#fff", "#111"), ("#111", "#eee")], ids=["light", "dark"])
def test_the_cell_of_a_notebook_reads_and_nothing_runs(fragment, tmp_path, ink):
    page_file = tmp_path / "cell.html"
    style = f"background: {ink[0]}; color: {ink[1]}; width: 900px; margin: 16px"
    page_file.write_text(
        f"<!doctype html><meta charset=utf-8><title>cell</title><body style='{style}'>{fragment}</body>"
    )
    asked, said = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(page_file.as_uri())
        page.wait_for_timeout(500)  # for what may be asked for later; the fragment has no script
        assert page.title() == "cell"
        assert page.locator("table").is_visible()
        assert page.locator("tbody tr").count() == 3
        assert page.get_by_text("deployed").first.is_visible()
        assert page.locator("img, script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.screenshot(path=str(tmp_path / "cell.png"))
        browser.close()
    assert [url for url in asked if url != page_file.as_uri()] == []
    assert said == []
