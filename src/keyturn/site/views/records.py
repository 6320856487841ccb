"""Pages of evidence records, down to the rows of the run: where a number comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from keyturn.atlas.evidence import Evidence
from keyturn.atlas.linked import linked_record, script_text
from keyturn.core.numbers import MINUS, number, whole
from keyturn.report.tables import Table
from keyturn.site import paths
from keyturn.site.figures import DIGITS, measured
from keyturn.site.page import Page
from keyturn.site.source import Source
from keyturn.site.views.claims import badge, record_row

ORIGINS = {"shipped": "ships with keyturn", "mine": "was made on this machine"}


NO_FINGERPRINT = "of which no fingerprint was kept: the command below makes one anew, maybe not to the bit"


def pages(source: Source) -> Iterator[Page]:
    """Every record, and their list."""
    groups = []
    for name, claim in source.claims.items():
        found = source.of(name)
        for one in found:
            yield source.page(paths.record(one.id), _page, source, one)
        if found:
            groups.append(
                {
                    "path": paths.claim(name),
                    "title": claim.statement,
                    "says": claim.threshold.says,
                    "rows": [record_row(source, one) for one in found],
                }
            )
    yield Page(
        path="records/index.html",
        template="records.html.jinja",
        title="Records",
        shows={"groups": groups, "count": len(source.records)},
    )


def _page(source: Source, one: Evidence) -> Page:
    claim = source.claims[one.claim]
    behind = source.details(one)
    used = [
        {
            "path": paths.fact(r.reading.fact),
            "says": source.atlas.facts[r.reading.fact].says,
            "state": source.state(r.reading.fact),
        }
        for r in source.states.readings.values()
        if one.id in r.records and r.reading.fact in source.atlas.facts
    ]
    return Page(
        path=paths.record(one.id),
        template="record.html.jinja",
        title=f"Record {one.id[:6]}: {claim.id}",
        under="claims/index.html",
        shows={
            "record": one,
            "linked": Markup(script_text(linked_record(one))),
            "claim": {"path": paths.claim(claim.id), "title": claim.statement, "id": claim.id},
            "badge": badge(source.verdicts[claim.id]),
            "old": one.claim_hash != claim.hash,
            "counts": source.counts(one),
            "carried": source.carried(one.parts[0] if one.parts else one),
            "origin": ORIGINS.get(source.made_by(one), f"is {source.made_by(one)}"),
            "about": _about(one),
            "setting": behind.get("setting", ""),
            "numbers": _numbers(one, behind.get("contrasts", ())),
            "contrasts": _contrasts(behind.get("contrasts", ())),
            "rows": _rows(behind.get("rows", ())),
            "used": list({u["path"]: u for u in used}.values()),
            "parts": [part.made[:10] for part in one.parts],
            "command": f"keyturn claim run {one.claim} --seed {one.seed}"
            + (f" --profile {one.profile}" if one.profile != "short" else ""),
        },
    )


def _about(one: Evidence) -> list[tuple[str, str]]:
    """What was run, in pairs."""
    found = [
        ("base", f"{one.base_name or 'unnamed'}, {f'fingerprint {one.base}' if one.base else NO_FINGERPRINT}"),
        ("tuned model", one.tuned),
        ("problems", one.problems),
        ("test problems", whole(one.n)),
        ("seed", str(one.seed)),
        ("profile", one.profile),
        ("run", one.run),
        ("made", one.made[:10]),
        ("protocol", f"version {one.version}, {one.claim_hash[:12]}"),
        ("code", one.code[:12]),
        *((name, value) for name, value in sorted(one.environment.items())),
    ]
    return [(name, value) for name, value in found if value]


def _numbers(one: Evidence, contrasts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    seeds = {line["key"]: line for line in contrasts}
    found = []
    for name, value in one.numbers.items():
        line = seeds.get(name, {})
        spread = one.reproduction(name)
        found.append(
            {
                "name": name,
                "number": measured(value, name, [one.id]) if not math.isnan(value.value) else "undefined",
                "what": line.get("name", ""),
                "seeds": line.get("seeds", ""),
                "basis": one.basis.get(name, ""),
                "spread": f"{number(spread[0], digits=DIGITS)} to {number(spread[1], digits=DIGITS)}"
                if spread
                else "",
            }
        )
    return found


def _contrasts(found: Sequence[Mapping[str, Any]]) -> Table | None:
    """Differences over seeds, with what the seeds could have seen."""
    if not found:
        return None
    rows = [
        (
            str(line["name"]),
            _cell(line.get("value")),
            f"[{_cell(line.get('low'))}, {_cell(line.get('high'))}]" if line.get("low") is not None else "",
            str(line.get("seeds", "")),
            _cell(line.get("smallest")),
            str(line.get("reading", "")),
        )
        for line in found
    ]
    header = ("over seeds", "mean", "95 % interval", "seeds", "smallest visible effect", "reading")
    return Table(
        caption="Differences between arms, paired by seed",
        header=header,
        rows=tuple(rows),
        words=frozenset({0, 5}),
    )


def _rows(found: Sequence[Mapping[str, Any]]) -> Table | None:
    """Every run of the study."""
    if not found:
        return None
    names = list(dict.fromkeys(key for row in found for key in row))
    rows = tuple(tuple(_cell(row.get(name)) for name in names) for row in found)
    words = frozenset(i for i, name in enumerate(names) if any(isinstance(row.get(name), str) for row in found))
    return Table(
        caption="Every run, a line each; the chosen ones are those that count",
        header=tuple(names),
        rows=rows,
        words=words,
        marked=frozenset(i for i, row in enumerate(found) if row.get("chosen")),
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        small = 0 < abs(value) < 0.001
        return f"{value:.2g}".replace("-", MINUS, 1) if small else _short(number(value, digits=DIGITS))
    return str(value)


def _short(text: str) -> str:
    """A number without the zero before its point, as everywhere else in the atlas."""
    return text.replace("0.", ".", 1) if text.startswith(("0.", f"{MINUS}0.")) else text
