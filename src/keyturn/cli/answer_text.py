"""An answer as text for a terminal: the article, then the lines behind it with their ids."""

from __future__ import annotations

import shutil
import textwrap

from keyturn.atlas.answers import Answer, Gap, Measured, Reported
from keyturn.atlas.collection import Atlas
from keyturn.atlas.drafting import Draft
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import MARKS
from keyturn.core.text import visible


def answer_text(found: Answer, atlas: Atlas) -> str:
    """The whole answer.

    Args:
        found: the answer.
        atlas: for the titles of what it points to.
    """
    asked = found.question
    blocks = [wrapped(asked.question)]
    if asked.read_as:
        blocks.append(wrapped(f"Read as: {asked.read_as}"))
    blocks += [
        wrapped(" ".join(one.text for one in paragraph))
        for paragraph in (*found.article, found.cautions)
        if paragraph
    ]
    sections = (
        ("what was measured here", [line for one in found.measured for line in _measured(one)]),
        ("what the literature reports", [line for one in found.reported for line in _reported(one, atlas)]),
        (
            "tensions",
            [line for one in found.tensions for line in _item(one.text, _decides(one.relation.decides))],
        ),
        ("gaps", [line for one in found.gaps for line in _gap(one, atlas)]),
        (
            "what would change this",
            [line for one in found.turning[:3] for line in _item(_turn(one.state, one.text))],
        ),
        ("not in the collection", [f"  {one}" for one in found.absent]),
        (
            "sources",
            [
                line
                for one in found.sources
                for line in _item(f"{one.note.question} ({one.states})", one.note.id)
            ],
        ),
        ("go on with", [line for one in found.further for line in _item(atlas.questions[one].question, one)]),
    )
    blocks += [[heading, *lines] for heading, lines in sections if lines]
    return visible("\n\n".join("\n".join(block) for block in blocks), max_line=0) + "\n"


def draft_text(made: Draft) -> str:
    """A draft: what stays, then what was struck out and why."""
    kept, struck = made.kept, made.struck
    said = (
        f"draft by {made.model}: {len(kept)} of {len(kept) + len(struck)} sentences stand. They were checked "
        "for what they rest on, their numbers and states, not for sense; the answer is what stands above"
    )
    lines = wrapped(said)
    for one in kept:
        lines += _item(one.text, f"from {', '.join(one.data_from)}")
    if struck:
        lines += ["", "struck out"]
    for one in struck:
        lines += _item(f"~~{one.text}~~", one.why)
    return visible("\n".join(lines), max_line=0) + "\n"


def wrapped(text: str, indent: str = "") -> list[str]:
    """Text in lines no wider than the terminal, nor than is good to read."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    return textwrap.wrap(
        text, max(width, 40), initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )


def _item(text: str, *below: str) -> list[str]:
    """An entry of a list: its text, and what stands below it, deeper."""
    first, *rest = wrapped(text, "    ")
    return ["  - " + first[4:], *rest, *(line for one in below if one for line in _below(one))]


def _below(text: str) -> list[str]:
    """What stands under an entry; a command stays on one line, so that it can be copied."""
    return [f"      {text}"] if text.startswith("keyturn ") else wrapped(text, "      ")


def _measured(one: Measured) -> list[str]:
    state = one.state
    mark = {"holds": MARKS["holds"], "fails": MARKS["fails"], "split": MARKS["split"]}.get(
        state.outcome, MARKS["open"]
    )
    how = "" if state.reading.how == "tests" else " (bears on it, decides nothing)"
    if not state.sound:
        says = f"{state.reading.where}: whether {state.reading.says}"
        return _item(f"○ {state.outcome}{how}: {says}", state.why, f"from {state.reading.claim}")
    basis = f"{one.rests_on}; {one.checked}; needed {one.bound}"
    return _item(
        f"{mark} {state.outcome}{how}: {one.sentence}",
        basis,
        f"from {state.reading.claim}, {state.reading.number!r}",
    )


def _reported(one: Reported, atlas: Atlas) -> list[str]:
    numbers = "; ".join(f"{q.what} {q}" for q in one.quantities)
    papers = "; ".join(
        f"{atlas.papers[p].title} ({atlas.papers[p].year}), {p}"
        if p in atlas.papers
        else f"{p}, not in the collection"
        for p in one.papers
    )
    caution = one.fact.fact.caution
    return _item(
        f"{one.fact.fact.says} {one.agreement.capitalize()}: {one.why}.",
        numbers,
        f"Caution: {caution}" if caution else "",
        papers,
    )


def _gap(one: Gap, atlas: Atlas) -> list[str]:
    cost = f"some {one.minutes:.0f} minutes on one core" if one.minutes >= 1 else ""
    waits = f"{', '.join(one.facts)}: " if one.facts else ""
    if one.command:
        return _item(f"{waits}{one.why}", f"{one.command}    # {cost}" if cost else one.command)
    experiment = atlas.experiments.get(one.by)
    if experiment:
        return _item(
            f"{waits}{one.why + '; ' if one.why else ''}{experiment.says}",
            f"not written yet: see experiment {one.by} ({cost} once it is)" if cost else "",
            f"it lacks: {experiment.lacks}",
        )
    return _item(f"{waits}{one.why}", f"{one.by} is not in the collection" if one.by else "")


def _decides(by: str) -> str:
    return f"decided by {by}" if by else ""


def _turn(state: ReadingState, text: str) -> str:
    reading = state.reading
    return f"{reading.where}, whether {reading.says}: {text}."
