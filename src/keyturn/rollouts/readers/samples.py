"""Sample files of any common tool as one table of problems, completions and verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.rollouts.completions import Completions, Prompts, Stop
from keyturn.rollouts.grades import Grades
from keyturn.rollouts.readers.choose import NESTED, choose
from keyturn.rollouts.readers.columns import KNOWN, Columns, lookup
from keyturn.rollouts.readers.counts import count_columns, read_counts, refuse_counts
from keyturn.rollouts.readers.layouts import plain_rows
from keyturn.rollouts.readers.records import Record, Records, read_records, split_selector
from keyturn.rollouts.readers.resolve import Resolved, require, resolve
from keyturn.rollouts.readers.rows import Cell, RowsRead, asked_of, draw_rows
from keyturn.rollouts.readers.values import same_gold
from keyturn.rollouts.readers.which_draw import number_draws, refuse_two_verdicts, repeated
from keyturn.rollouts.readers.which_problem import Asked, prompt_key, which_problem


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Draws of one policy from a file, one row per draw, in the order of the file.

    Args:
        source: the file, with the selector if one was given.
        policy: the file's name for the policy, or else the file's own name.
        problem: problem ids, ``[row]``.
        prompts: prompts, ``[row]``; ``""`` if the file has none.
        texts: everything that the policy said, ``[row]``; ``""`` if the file has no completion.
        final: its last message, which graders read; differs from ``texts`` only in conversations.
        answered: whether the file has a completion, bool ``[row]``: False for errors and nulls, and everywhere
            in files of verdicts or counts.
        success: 1 right, 0 wrong, NaN ungraded, float32 ``[row]``.
        verified: the same for answer and trace together; all NaN if nobody read traces.
        gold: gold answers, ``[row]``; ``""`` if there is none.
        also: further gold answers of a problem, each as right as the first, by its id.
        answer: extracted answers, ``[row]``; ``""`` if unknown.
        draw: number of the draw within its problem, int32 ``[row]``.
        truncated: whether it was cut at the limit (False if unknown), bool ``[row]``.
        cuts_known: whether the file says which completions were cut.
        cells: cell of each row's problem, ``[row]``.
        columns: further columns of the grader, one entry per row (``lenient``...).
        no_gold: why a column of gold answers was ignored; else ``""``.
        notes: what was ignored or added, one sentence each.
    """

    source: str
    policy: str
    problem: tuple[str, ...]
    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    final: tuple[str, ...]
    answered: NDArray[np.bool_]
    success: NDArray[np.float32]
    verified: NDArray[np.float32]
    gold: tuple[str, ...]
    answer: tuple[str, ...]
    draw: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    cells: tuple[Cell, ...]
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Mapping[str, NDArray] = field(default_factory=dict)
    cuts_known: bool = False
    no_gold: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.problem)

    @property
    def ungraded(self) -> int:
        """Number of rows without a verdict."""
        return int(np.isnan(self.success).sum())

    @property
    def words(self) -> NDArray[np.int32]:
        """Words per completion, which is the length if no tokenizer is known."""
        return np.array([len(text.split()) for text in self.texts], dtype=np.int32)

    def problems(self) -> tuple[Problem, ...]:
        """The problems in the order of their first row."""
        found: dict[str, Problem] = {}
        for name, prompt, gold, cell in zip(self.problem, self.prompts, self.gold, self.cells, strict=True):
            if name not in found:
                also = self.also.get(name, ())
                found[name] = Problem(id=name, prompt=prompt, answer=gold, also=also, cell=dict(cell))
        return tuple(found.values())

    def completions(self) -> tuple[tuple[Problem, ...], Completions]:
        """The last messages as completions without tokens, for a grader."""
        problems = self.problems()
        place = {problem.id: index for index, problem in enumerate(problems)}
        none = np.zeros(0, dtype=np.float32)
        prompts = Prompts.build([p.id for p in problems], [p.prompt for p in problems], [[] for _ in problems])
        stop = np.where(self.truncated, Stop.LENGTH, Stop.UNKNOWN)
        return problems, Completions(
            policy=self.policy,
            prompts=prompts,
            problem=np.array([place[name] for name in self.problem], dtype=np.int32),
            draw=self.draw,
            tokens=none.astype(np.int32),
            offsets=np.zeros(len(self) + 1, dtype=np.int64),
            logprobs=none,
            entropies=none,
            stop=np.where(self.answered, stop, Stop.ERROR).astype(np.uint8),
            texts=self.final,
        )

    def by_prompt(self) -> Samples:
        """The same draws with problems identified by their prompts, if there are any."""
        keys = {name: prompt_key(prompt) if prompt else name for name, prompt in self._asked().items()}
        also = {keys[name]: golds for name, golds in self.also.items()}
        return replace(self, problem=tuple(keys[name] for name in self.problem), also=also)

    def _asked(self) -> dict[str, str]:
        return dict(zip(self.problem, self.prompts, strict=True))

    def with_grades(self, grades: Grades) -> Samples:
        """The same draws with a grader's verdicts instead of the file's."""
        return replace(
            self,
            success=grades.outcome,
            verified=grades.verified,
            answer=grades.answer,
            columns={**self.columns, **grades.columns},
        )


def read_samples(
    source: str | Path,
    columns: Columns = Columns(),  # noqa: B008
    *,
    unjudged: bool = False,
) -> Samples:
    """Read a file of samples.

    Args:
        source: JSON lines, JSON, CSV, Parquet or an Inspect log, plain or compressed; ``file#which`` selects
            one of several policies in it.
        columns: names of columns that keyturn does not know.
        unjudged: whether it may lack verdicts and gold answers, which then come from elsewhere.

    Raises:
        UsageError: there is no such file, column or selection.
        InputError: the file is damaged; it has no completions or verdicts, no problems, or neither verdicts nor
            gold answers; its rewards are not verdicts; one of several columns or policies must be chosen;
            identities contradict prompts; or a draw occurs twice.
    """
    path, which = split_selector(source)
    if which and columns.select and which != columns.select:
        raise UsageError(f"{source} selects {which!r} and the option {columns.select!r}", fix="leave one out")
    columns = replace(columns, select=which or columns.select)
    return samples_of(read_records(path), str(source), columns, unjudged=unjudged)


def samples_of(
    records: Records,
    source: str,
    columns: Columns = Columns(),  # noqa: B008
    *,
    unjudged: bool = False,
) -> Samples:
    """Samples from records that are in memory already.

    Args:
        records: one mapping per record, see :func:`~keyturn.rollouts.readers.memory.records_in`.
        source: their name in the result.
        columns, unjudged: as for :func:`read_samples`.

    Raises:
        UsageError, InputError: as for :func:`read_samples`.
    """
    path = records.path
    rows, policy, nested = choose(path, plain_rows(records.rows), columns.select, columns.draw)
    known = {**KNOWN, "completion": NESTED} if nested else KNOWN
    counted = count_columns(path, rows, columns)
    if counted is not None:
        # From a file of counts only problems, prompts and gold answers are read.
        none = dict.fromkeys(("completion", "success", "draw", "answer", "verified", "truncated"), ())
        found = resolve(path, rows, columns, {**known, **none})
    else:
        found = resolve(path, rows, columns, known)
        if not found.names["completion"] and not found.names["success"]:
            refuse_counts(path, rows)
        require(path, rows, found, unjudged=unjudged)
    asked = [asked_of(row, found) for row in rows]
    keys, notes = which_problem(path, rows, asked, found)
    notes = [*records.notes, *found.notes, *notes]
    if counted is not None:
        record, success = read_counts(path, rows, counted, keys)
        drawn = RowsRead.of_counts(record, success)
        notes.append(f"{len(rows)} records of counts: verdicts without completions and without an order")
    else:
        drawn = draw_rows(path, rows, found, columns.success_at)
        notes += _checked(path, rows, drawn, keys, found)
    golds, no_gold = _golds(keys, asked, found)
    table = _Table(source=source, policy=policy or records.policy or path.name.split(".")[0], keys=keys)
    return table.samples(rows, asked, drawn, found, golds, no_gold, notes)


def _checked(
    path: Path, rows: Sequence[Record], drawn: RowsRead, keys: Sequence[str], found: Resolved
) -> list[str]:
    """Make numbers of draws unique and leave out repeated records; return notes on both and on draws without
    text."""
    notes = []
    again = repeated(rows, drawn, [keys[place] for place in drawn.record], found)
    if again:
        drawn.leave_out(again)
        notes.append(f"{len(again)} records repeat an earlier one with the same draw and were read once")
    own = [keys[place] for place in drawn.record]
    refuse_two_verdicts(path, rows, drawn, own, found)
    notes += number_draws(path, rows, drawn, own, found)
    if drawn.shared:
        notes.append(f"{drawn.shared} texts share a verdict with others, so they are ungraded")
    if drawn.silent:
        what = f"{drawn.silent} of {len(own)} draws have no completion (null or an error) and count as ungraded"
        notes.append(what)
    if not found.names["completion"]:
        notes.append("no completions were found, so only verdicts are read")
    return notes


def _golds(
    keys: Sequence[str], asked: Sequence[Asked], found: Resolved
) -> tuple[Mapping[str, tuple[str, ...]], str]:
    """The gold answers of each problem, or why there are none if a problem has several sets of them."""
    sets: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for key, one in zip(keys, asked, strict=True):
        if one.golds and not any(same_gold(one.golds, known) for known in sets[key]):
            sets[key].append(one.golds)
    torn = [key for key, known in sets.items() if len(known) > 1]
    if torn:
        one, other = (" or ".join(golds)[:40] for golds in sets[torn[0]][:2])
        why = (
            f"{found.names['gold']!r} differs within {len(torn)} of {len(sets)} problems"
            f" ({one!r} and {other!r} in {torn[0][:40]!r}), so it holds no gold answers"
        )
        return {}, why
    return {key: known[0] for key, known in sets.items() if known}, ""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The content of a file besides its rows."""

    source: str
    policy: str
    keys: Sequence[str]

    def samples(
        self,
        rows: Sequence[Record],
        asked: Sequence[Asked],
        drawn: RowsRead,
        found: Resolved,
        golds: Mapping[str, tuple[str, ...]],
        no_gold: str,
        notes: Sequence[str],
    ) -> Samples:
        """The table; values that all draws of a record share are made once."""
        cells = [_cell(row, found.cells) for row in rows]
        own = [self.keys[place] for place in drawn.record]
        return Samples(
            source=self.source,
            policy=self.policy,
            problem=tuple(own),
            prompts=tuple(asked[place].prompt for place in drawn.record),
            texts=tuple(drawn.texts),
            final=tuple(drawn.final),
            answered=np.array(drawn.answered, dtype=np.bool_),
            success=np.array(drawn.success, dtype=np.float32),
            verified=np.array(drawn.verified, dtype=np.float32),
            gold=tuple(golds[key][0] if key in golds else "" for key in own),
            also={key: known[1:] for key, known in golds.items() if len(known) > 1},
            answer=tuple(drawn.answer),
            draw=np.array(drawn.number, dtype=np.int32),
            truncated=np.array(drawn.truncated, dtype=np.bool_),
            cells=tuple(cells[place] for place in drawn.record),
            cuts_known=bool(found.names["truncated"]),
            no_gold=no_gold,
            notes=(*notes, *([no_gold] if no_gold else [])),
        )


def _cell(row: Record, names: Sequence[str]) -> Cell:
    cell = {}
    for name in names:
        value = lookup(row, name)
        if isinstance(value, str | int):
            cell[name] = value
    return cell
