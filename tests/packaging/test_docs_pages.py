"""The generator of docs: docstrings become Markdown, stale pages and dead links are noticed."""

import importlib.util
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    # As a script it finds its neighbours by itself.
    sys.path.insert(0, str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_method_s_docstring_becomes_markdown_with_its_fixed_parts_apart(generate):
    text = generate.as_markdown(
        """An idea of :class:`~keyturn.core.problem.Problem` in ``one`` sentence.

        Formula, for row ``i``::

            a = b * c
            d = ``e``

        with ``b``.
        Denominator: rows. Degenerate: none
        at all.
        Source: ours.
        """
    )
    assert text == (
        "An idea of `Problem` in `one` sentence.\n\n"
        "Formula, for row `i`:\n\n"
        "```text\na = b * c\nd = e\n```\n\n"
        "with `b`.\n\n**Denominator:** rows.\n\n**Degenerate:** none\nat all.\n\n**Source:** ours."
    )


def test_every_measure_and_objective_has_its_section_and_every_option_its_text(generate):
    measures, objectives = generate.measures_page(), generate.objectives_page()
    for name, measure in generate.MEASURES.items():
        assert f"## {name}\n" in measures
        assert measure.null in measures
    for name, build in generate.OBJECTIVES.items():
        assert f"## {name}\n" in objectives
        assert generate.part_of(generate.docstring_of(name), "Denominator")
        assert build().bias in objectives
    assert "| `k` | `64` |" in measures


def test_a_number_may_differ_in_its_last_digits_and_a_word_may_not(generate):
    page = "ratio `1`, credit `1.62`, log-probability `-0.000151`"
    assert generate.same(page, page.replace("1.62", "1.621"), numbers=True)
    assert not generate.same(page, page.replace("1.62", "1.7"), numbers=True)
    assert not generate.same(page, page.replace("ratio", "ration"), numbers=True)
    assert not generate.same(page, page.replace("1.62", "1.621"), numbers=False)
    assert not generate.same("", page, numbers=True)


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[a](add-a-measure.md)", ""),
        ("[a](measures.md#pass_at_k)", ""),
        ("[a](#a-heading-of-this-page)", ""),
        ("[a](https://example.org/nowhere)", ""),
        ("`[a](nowhere.md)`", ""),
        ("[a](nowhere.md)", "nowhere.md is not there"),
        ("![a](nowhere.png)", "nowhere.png is not there"),
        ("[`a`](../src/keyturn/nowhere.py)", "nowhere.py is not there"),
        ("[a](measures.md#pass_at_9)", "has no such heading"),
        ("[a](#another-heading)", "has no such heading"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(generate, link, fault):
    text = f"# A heading of this page\n\nSee {link} there.\n"
    page = ROOT / "docs" / "verdict.md"
    found = list(generate.broken_links(page, text))
    assert bool(found) == bool(fault)
    assert not fault or fault in found[0]
