"""The pages about the whole: home, what to run next, what moved, whether to trust it, what it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from keyturn.atlas.answers import Answer
from keyturn.atlas.next_runs import Candidate
from keyturn.atlas.states import STATES, counts
from keyturn.core import numbers
from keyturn.report.page import asset
from keyturn.report.svg import Point
from keyturn.report.tables import Table
from keyturn.site import paths
from keyturn.site.figures import counted
from keyturn.site.history import Step, steps
from keyturn.site.mini_map import mini_map
from keyturn.site.page import Page
from keyturn.site.source import Source
from keyturn.site.views.questions import LEANINGS, article, clause

FLAGSHIP = "create-or-deploy"
"""The question at which the home page opens, where the collection has it."""
ANSWERED = ("yes", "no", "depends", "both", "measured")
ON_HOME = 3
NEAR = 4
"""How many lines of a list stand on the home page."""


def pages(source: Source, places: Mapping[str, Point]) -> Iterator[Page]:
    """All of them."""
    history = steps(source)
    plans = to_run(source)
    yield _home(source, places, history, plans)
    yield Page(
        path="next.html",
        template="next.html.jinja",
        title="What to run next",
        under="next.html",
        shows={"plans": plans},
    )
    yield Page(
        path="changes.html",
        template="changes.html.jinja",
        title="What moved",
        under="changes.html",
        shows={"days": _days(source, history)},
    )
    yield _trust(source)
    yield Page(
        path="about.html",
        template="about.html.jinja",
        title="About this atlas",
        shows={"counts": _sizes(source), "flagship": _flagship_page(source)},
    )


def _flagship(source: Source) -> str:
    return FLAGSHIP if FLAGSHIP in source.atlas.questions else next(iter(source.atlas.questions), "")


def _flagship_page(source: Source) -> str:
    name = _flagship(source)
    return paths.question(name) if name else "questions/index.html"


def _home(
    source: Source, places: Mapping[str, Point], history: tuple[Step, ...], plans: list[dict[str, Any]]
) -> Page:
    name = _flagship(source)
    moved = [one for one in history if one.moves]
    return Page(
        path="index.html",
        template="home.html.jinja",
        title="Does post-training create reasoning, or deploy it?",
        summary="Answers computed from records; what nobody has measured is named.",
        shows={
            "flagship": _opened(source, source.answer(name)) if name else None,
            "others": [_card(source, one) for one in _answered(source, name)],
            "states": [(state, counted(n, f"facts:{state}")) for state, n in _facts(source).items()],
            "facts": counted(len(source.atlas.distinct_facts), "facts"),
            "moves": [_move(source, step) for step in moved[:NEAR]],
            "map": mini_map(source, places),
            "plans": plans[:NEAR],
            "asks": _asks(source, plans),
            "sizes": _sizes(source),
        },
    )


def _opened(source: Source, found: Answer) -> dict[str, Any]:
    word, look = LEANINGS[found.leaning]
    return {
        "path": paths.question(found.question.id),
        "title": found.question.question,
        "word": word,
        "look": look,
        "sentence": clause(found.sentence),
        "article": article(found)[:2],
        "facts": [
            {"path": paths.fact(line.fact.fact.id), "says": line.fact.fact.says, "state": line.fact.state}
            for line in found.reported
        ],
    }


def _card(source: Source, found: Answer) -> dict[str, Any]:
    word, look = LEANINGS[found.leaning]
    return {
        "path": paths.question(found.question.id),
        "title": found.question.question,
        "sentence": clause(found.sentence),
        "word": word,
        "look": look,
        "states": [line.fact.state for line in found.reported],
    }


def _answered(source: Source, but: str) -> list[Answer]:
    """Questions that records answer, those with most sound tests first; no two of one topic."""
    found = [one for one in source.answers.values() if one.leaning in ANSWERED and one.question.id != but]
    rank = {"depends": 0, "both": 0, "yes": 1, "no": 1, "measured": 2}

    def sound(one: Answer) -> int:
        return sum(line.state.sound and line.state.reading.how == "tests" for line in one.measured)

    topics = {source.atlas.questions[but].topic} if but else set()
    told = {source.answer(but).sentence.text} if but else set()
    chosen = []
    for one in sorted(found, key=lambda one: (rank[one.leaning], -sound(one))):
        if one.question.topic not in topics and one.sentence.text not in told:
            topics.add(one.question.topic)
            told.add(one.sentence.text)
            chosen.append(one)
    return chosen[:ON_HOME]


def _asks(source: Source, plans: list[dict[str, Any]]) -> list[list[str]]:
    """What a researcher asks first: (page, question, what stands there)."""
    flagship, one_example = _flagship(source), "one-example-nearly-suffices"
    record = next((one.id for one in source.known.of(one_example)), "")
    found = (
        (
            bool(source.claims),
            "claims/index.html#contradicted",
            "Which published claims fail here, and why?",
            "verdicts with their numbers",
        ),
        (
            bool(flagship),
            f"{paths.question(flagship)}#tensions",
            "What contradicts “RL only deploys”?",
            "notes in tension, and what decides",
        ),
        (
            one_example in source.claims,
            f"{paths.claim(one_example)}#change",
            "What would change the verdict on one-example RL?",
            "the nearest bound, and the seeds it takes",
        ),
        (bool(plans), "next.html", "Which experiment would settle most?", "ranked, with the command to copy"),
        (
            bool(record) and one_example in source.claims,
            f"{paths.record(record)}#rows",
            "Where does a number come from?",
            "down to the rows of its run",
        ),
    )
    return [ask for there, *ask in found if there]


def _facts(source: Source) -> dict[str, int]:
    found = counts(source.atlas, source.states)
    return {state: found[state] for state in STATES}


def _sizes(source: Source) -> list[tuple[str, Markup, str]]:
    atlas = source.atlas
    return [
        ("notes", counted(len(atlas.notes), "notes"), "map.html"),
        ("facts", counted(len(atlas.distinct_facts), "facts"), "topics/index.html"),
        ("claims as experiments", counted(len(source.claims), "claims"), "claims/index.html"),
        ("questions", counted(len(atlas.questions), "questions"), "questions/index.html"),
        ("papers", counted(len(atlas.papers), "papers"), "papers/index.html"),
    ]


def _move(source: Source, step: Step) -> dict[str, Any]:
    record = step.record
    return {
        "day": record.made[:10],
        "records": [(paths.record(record.id), record.id[:6])],
        "claim": source.claims[record.claim].statement,
        "claim_path": paths.claim(record.claim),
        "origin": source.made_by(record),
        "facts": [
            {
                "path": paths.fact(one.fact),
                "says": source.atlas.facts[one.fact].says,
                "before": one.before,
                "after": one.after,
            }
            for one in step.moves
        ],
    }


def _days(source: Source, history: tuple[Step, ...]) -> list[dict[str, Any]]:
    """Days with their steps; records of one claim that follow one another and change nothing are one line."""
    days: dict[str, list[dict[str, Any]]] = {}
    for step in history:
        found, now = days.setdefault(step.record.made[:10], []), _move(source, step)
        last = found[-1] if found else None
        if last and not last["facts"] and not now["facts"] and _alike(last, now):
            last["records"] += now["records"]
        else:
            found.append(now)
    return [{"day": day, "steps": found} for day, found in days.items()]


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("claim_path", "origin"))


def to_run(source: Source) -> list[dict[str, Any]]:
    """What would settle most per estimated minute: runs of written claims, and experiments to be written."""
    found = [_plan(source, one) for one in source.next_runs]
    ranked = {one["id"] for one in found}
    idle = (name for name in source.atlas.experiments if name not in ranked)
    for name in idle:
        nobody = Candidate(
            by=name, written=False, facts=(), questions=(), runs=1.0, minutes=0.0, why="", command=""
        )
        found.append(_plan(source, nobody))
    return found


def _plan(source: Source, one: Candidate) -> dict[str, Any]:
    claim, experiment = source.claims.get(one.by), source.atlas.experiments.get(one.by)
    says = claim.statement if claim else experiment.says if experiment else one.by
    atlas = source.atlas
    hopeless = not math.isfinite(one.runs)
    return {
        "id": one.by,
        "says": says[:1].upper() + says[1:],
        "path": paths.claim(one.by) if claim else "",
        "written": one.written,
        "exists": experiment.exists if experiment else "",
        "lacks": experiment.lacks if experiment else "",
        "waits": _waits(one),
        "asked": [(paths.question(name), atlas.questions[name].question) for name in one.questions],
        "facts": [(paths.fact(name), atlas.facts[name].says) for name in one.facts if name in atlas.facts],
        "runs": "" if hopeless or one.runs == 1 else numbers.counted(one.runs, "run"),
        "hopeless": hopeless,
        "minutes": numbers.counted(max(1, round(one.minutes)), "minute")
        if one.minutes and not hopeless
        else "",
        "why": one.why if claim else "",
        "worth": one.worth,
        "command": one.command,
    }


def _waits(one: Candidate) -> Markup:
    """What waits, in words: ``1 fact and 17 questions wait for it``."""
    parts = [
        Markup("{} {}{}").format(
            counted(len(ids), f"waiting-{kind}s:{one.by}"), kind, "" if len(ids) == 1 else "s"
        )
        for kind, ids in (("fact", one.facts), ("question", one.questions))
        if ids
    ]
    verb = "waits" if len(one.facts) + len(one.questions) == 1 else "wait"
    return Markup(" and ").join(parts) + f" {verb} for it" if parts else Markup("nothing waits for it")


def _trust(source: Source) -> Page:
    tables = json.loads(asset("trust.json", "site"))["tables"]
    tests = [one for one in source.states.readings.values() if one.reading.how == "tests" and one.sound]
    decided = [one for one in tests if one.outcome in ("holds", "fails")]
    return Page(
        path="trust.html",
        template="trust.html.jinja",
        title="Can this atlas be trusted?",
        under="trust.html",
        shows={
            "tests": counted(len(tests), "sound tests"),
            "decided": counted(len(decided), "decided tests"),
            "illustrative": counted(sum(one.illustrates for one in tests), "illustrative tests"),
            "chance": Markup('<span class="n" data-count="false by chance">{}</span>').format(
                numbers.number(0.025 * len(tests), digits=1)
            ),
            "elsewhere": Markup('<span class="n" data-from="results">{}</span>').format(_elsewhere(tables)),
            "tables": [_table(one) for one in tables],
        },
    )


def _elsewhere(tables: Sequence[Mapping[str, Any]]) -> str:
    """The largest share of false states, with its interval, where one base of many that differ was tried."""
    [rows] = [one["rows"] for one in tables if "false" in one["header"]]
    [place] = [one["header"].index("false") for one in tables if "false" in one["header"]]
    return max(row[place] for row in rows if row[0].startswith("one base of many"))


def _table(found: Mapping[str, Any]) -> Table:
    header = tuple(found["header"])
    return Table(
        caption=found["caption"],
        header=header,
        rows=tuple(tuple(row) for row in found["rows"]),
        words=frozenset(found["words"]),
    )
