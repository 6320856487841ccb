"""The page: whole, inert, self-contained, readable without its script."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hostile_audit import ATTACKS, all_attacks, hostile
from page_reader import Page, breaches, hash_of, policy_of

from keyturn.core.errors import StorageError
from keyturn.measures.verdict import Coverage
from keyturn.report import write_report
from keyturn.report.page import policy, program, render, style_sheet
from keyturn.report.sections import sections_of


@pytest.fixture(scope="module")
def text(audits):
    return render(audits, command="keyturn audit --seed 7", seconds=103.4, made="2026-01-01 00:00 UTC")


@pytest.fixture(scope="module")
def short(audits):
    """A page with its style and script and little else."""
    return render([replace(audits[0], measurements=(), spans=())], command="c", seconds=1.0)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_is_one_well_formed_document(text, page):
    assert text.startswith("<!doctype html>")
    assert page.stack == []
    assert page.all("html")[0]["lang"] == "en"
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    known = set(ids)
    for link in page.all("a"):
        assert link["href"].removeprefix("#") in known
    for names in page.attributes("aria-labelledby"):
        assert set(names.split()) <= known


def test_nothing_loads_and_only_its_own_script_and_style_run(text, page):
    assert breaches(text) == []
    said = policy_of(page)
    assert said.startswith("default-src 'none'")
    assert "unsafe" not in said
    assert len(page.text_of["script"]) == len(page.text_of["style"]) == 1
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_check_of_the_page_would_notice(short):
    assert "script without its hash" in breaches(short.replace('"use strict"', '"use  strict"'))
    assert "style without its hash" in breaches(short.replace("--paper: #fcfbf8", "--paper: #fcfbf9"))
    for planted in (
        "<img src=x onerror=alert(1)>",
        '<p style="x"></p>',
        "<script>1</script>",
        '<a href="http://x/">y</a>',
    ):
        assert breaches(short.replace("</footer>", f"{planted}</footer>")), planted


def test_the_policy_is_the_hash_of_what_is_shipped(page):
    assert policy(style_sheet(), program()) == policy_of(page)
    assert hash_of(program()) in policy_of(page)
    assert "\r" not in style_sheet() + program()


def test_the_verdict_comes_first(text, audits):
    body = text[text.index("<body>") :]
    for result in audits:
        assert body.index(result.verdict.label) < body.index("<table>")
        assert f"K = {result.verdict.k}" in body
    heading = re.search(r"<h1[^>]*>(.*?)</h1>", body, re.S)
    assert heading
    assert "change?" in heading[1]


def test_every_figure_shows_its_data_and_how_to_read_it(text, page):
    figures = text.split("<figure ")[1:]
    assert len(figures) > 30
    for figure in figures:
        inside = figure[: figure.index("</figure>")]
        assert inside.count("<svg ") == 2, "a drawing for wide pages, one for narrow ones"
        assert '<p class="reading">' in inside
        assert "<details" in inside
        assert "<table>" in inside
        assert "<caption>" in inside
    assert len(page.all("svg")) == 2 * len(figures) + 1
    assert all(s.get("role") == "img" or s.get("aria-hidden") == "true" for s in page.all("svg"))


def test_every_table_names_its_columns(page):
    tables = len(page.all("table"))
    assert len(page.all("caption")) == tables
    assert all(h.get("scope") in {"col", "row"} for h in page.all("th"))
    regions = [attrs for _, attrs in page.tags if attrs.get("role") == "region"]
    assert len(regions) == tables
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in regions)


def test_headings_never_skip_a_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_all_that_was_promised_is_there(text, audits):
    for result in audits:
        titles = {section.title for section in sections_of(result, "x")}
        assert {"Where the gain came from", "Success within k draws", "Routing and execution"} <= titles
        assert {"During training", "Which tokens moved", "Weights", "Everything measured"} <= titles
        assert all(not section.absent for section in sections_of(result, "x"))
        for limit in result.limits:
            assert limit.split("'")[-1][:40] in text
    for words in ("Where the seconds went", "How it was made", "keyturn audit --seed 7", "1 min 43 s", "torch"):
        assert words in text


def test_text_from_outside_is_inert_everywhere(audits):
    text = render([hostile(a) for a in audits], command=all_attacks(), seconds=1.0, made="now")
    assert breaches(text) == []
    page = Page(text)
    assert page.stack == []
    assert len(page.all("script")) == 1
    for forbidden in "\x1b\x00\u202e\u2066\u200b\x07":
        assert forbidden not in text
    text.encode()
    assert "\u2400" in text
    assert "\u27e8U+202E\u27e9" in text
    assert "{{ 7*&#39;7&#39; }}" in text, "template braces are shown, not run"


def test_an_attack_that_is_not_escaped_would_be_found(short):
    for attack in ("<script>alert('x')</script>", ATTACKS[1], '<b onmouseover="alert(2)">b</b>'):
        assert breaches(short.replace("Skip to the verdict", attack)), attack
    for attack in (ATTACKS[0], ATTACKS[3]):
        with pytest.raises(AssertionError, match="closes"):
            breaches(short.replace("Skip to the verdict", attack))


def test_a_section_with_nothing_says_why(audits):
    bare = replace(
        audits[0],
        measurements=(),
        tables=replace(audits[0].tables, history=(), shift={}, weights=()),
        spans=(),
        cells=(),
        seconds={},
        verdict=replace(
            audits[0].verdict,
            curve=(),
            classes=np.zeros(0, dtype=np.int8),
            base_p=np.zeros(0),
            tuned_q=np.zeros(0),
        ),
        left_out={"update_geometry": "needs weights, which this audit does not have"},
    )
    sections = sections_of(bare, "a")
    empty = [s for s in sections if not s.figures and not s.listings and s.title != "Everything measured"]
    assert len(empty) == len(sections) - 1
    assert all(s.absent.endswith(".") for s in empty)
    text = render([bare], command="c", seconds=1.0)
    assert "Not computed: update_geometry needs weights" in text
    assert "that needs both models" in text
    assert breaches(text) == []


def test_one_draw_a_problem_claims_no_curve(audits):
    result = audits[0]
    once = replace(
        result,
        measurements=tuple(
            replace(m, parameters={**m.parameters, "k_max": 1}) if m.name == "crossing" else m
            for m in result.measurements
            if m.name not in ("pass_at_k", "pass_at_k_difference") or m.parameters["k"] == 1
        ),
        verdict=replace(
            result.verdict,
            label="undecided",
            k=1,
            n_base=1,
            curve=(),
            masses={},
            coverage=Coverage(label="undecided", k_max=1),
        ),
    )
    coverage = sections_of(once, "a")[1]
    assert [figure.name for figure in coverage.figures] == ["a-gained"]
    assert not any("meet" in sentence for sentence in coverage.says)
    text = render([once], command="c", seconds=1.0)
    assert "curves meet" not in text
    assert "up to 1 draw" in text
    assert "up to 1 base draw per problem" in text
    assert "1 draws" not in text


def test_problems_keep_their_names_when_some_could_not_be_judged(audits):
    result = audits[0]
    paired, verdict = result.tables.paired, result.verdict
    base = paired.base
    verified = base.verified.copy()
    verified[base.problem == 1] = np.nan
    left_out = replace(
        result,
        tables=replace(result.tables, paired=replace(paired, base=replace(base, verified=verified))),
        verdict=replace(
            verdict,
            classes=np.delete(verdict.classes, 1),
            base_p=np.delete(verdict.base_p, 1),
            tuned_q=np.delete(verdict.tuned_q, 1),
        ),
    )
    moved = next(f for f in sections_of(left_out, "a")[0].figures if f.name.endswith("moved"))
    names = {row[0] for row in moved.table.rows}
    assert names == {p.id for p in base.problems} - {base.problems[1].id}


def test_the_dark_colours_are_the_same_by_system_and_by_choice():
    blocks = re.findall(r"--paper: #131519;.*?color-scheme: dark;", style_sheet(), re.S)
    assert len(blocks) == 2
    assert len({re.sub(r"\s+", " ", block) for block in blocks}) == 1


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(dark):
    css = style_sheet()
    block = css[css.index("--paper: #131519") if dark else css.index(":root") :]
    colour = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block[: block.index("}")]))
    for paper in ("paper", "card"):
        for ink in ("ink", "ink2", "ink3", "deployed", "created", "loss", "plan", "exec", "good"):
            assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)
    for name in ("deployed", "created", "narrowed", "mixed", "quiet"):
        tone = {"narrowed": "loss", "mixed": "plan", "quiet": "ink3"}.get(name, name)
        assert contrast(colour[tone], colour[f"t-{name}"]) >= 4.5, name
    for fill in (*(f"e{i}" for i in range(1, 6)), *(f"s{i}" for i in (0, 1, 2, 4, 5, 6))):
        assert contrast(colour["ink"], colour[fill]) >= 4.5, fill


def contrast(a: str, b: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_it_is_written_whole_and_says_where(audits, tmp_path):
    path = write_report(audits, tmp_path / "deep" / "report.html", command="c", seconds=1.0)
    assert path.is_absolute()
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert path.stat().st_size < 2_000_000
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").touch()
    with pytest.raises((StorageError, OSError)):
        write_report(audits, tmp_path / "file" / "report.html", command="c", seconds=1.0)
