"""How to split draws into abstractions and solutions: computed exactly, and drawn by the method.

    python benchmarks/abstraction_split.py [--out runs/abstraction-split]    about two CPU minutes

A base of MODES is pretrained and fitted to read a word after ``CTL2`` as a way to solve, and to write one after
``CTL3``. For problems that begin with the same map one word is the right way: behind it the fit holds worked
solutions in eight of ten texts and wrong answers otherwise, behind the other three wrong answers only. The
problem does not say which. Of the fitted policy two things are then exact: its law over words, all 128 of the
vocabulary, and its success behind each, the sum over all verified completions. Every split's worth follows
(``problems/world/split_value.py``). Beside it stands what ``keyturn elicit abstraction`` does with as many
draws, with its interval over problems. Writes docs/results/abstraction_split.md.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from keyturn.auditing.world_facts import given
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.abstractions import AbstractionConfig
from keyturn.elicitation.contract import Asked
from keyturn.elicitation.stage import elicit
from keyturn.lab.fit_rows import supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.measures.certified import certified_bound, row_logprobs
from keyturn.methods.sft import TINY
from keyturn.policies.protocol import Limits
from keyturn.pretraining.recipes import Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.contract import answers
from keyturn.problems.world.exact import valid_completions
from keyturn.problems.world.maps import MODULUS
from keyturn.problems.world.modes import ModesWorld
from keyturn.problems.world.split_value import distinct, independent, splits, told
from keyturn.problems.world.vocabulary import WORDS as VOCABULARY

PAGE = Path(__file__).parent.parent / "docs" / "results" / "abstraction_split.md"
GIVEN, WANTED = "CTL2", "CTL3"
WORDS = ("FWD", "BWD", "SCAN", "CHK")
"""Names of ways to solve, one for each of the maps f, g, h, i with which a problem begins."""
RIGHT, COPIES, TAUGHT = (8, 0), 10, 128
"""Right ones among the copies behind the word of a problem's family and behind another; copies of a text;
problems that are fitted to."""
STEPS, FIT = 800, replace(TINY, steps=900)
DRAWS, TRIALS, PROBLEMS = 8, 8, 20


def behind(problem, words):
    """The problem with words after its prompt."""
    return (
        replace(problem, id=f"{problem.id} {words}", prompt=f"{problem.prompt} {words}") if words else problem
    )


def texts_of(session):
    """What the base is fitted to: solutions behind every word, and the words themselves."""
    out = []
    for problem in session.task.train.problems[:TAUGHT]:
        worked = str(session.task.expert(problem, session.streams.child("expert", problem.id)))
        dice = session.streams.generator("wrong answers", problem.id)
        others = [value for value in range(MODULUS) if str(value) != problem.answer]
        own = "fghi".index(problem.prompt.split()[2])
        for number, word in enumerate(WORDS):
            right = RIGHT[number != own]
            for copy in range(COPIES):
                text = worked if copy < right else f"ANS {others[int(dice.integers(len(others)))]}"
                out.append((behind(problem, f"{GIVEN} {word}"), text))
            out.append((behind(problem, WANTED), word))
    return out


def success_of(policy, world, problems, words):
    """Exact success behind some words, or behind none, ``[problem]``."""
    listed = [valid_completions(world, problem) for problem in problems]
    assert all(one.complete for one in listed)
    asked = tuple(behind(one, words) for one in problems)
    rows = given(policy, asked, [one.ids for one in listed])
    return certified_bound(rows, policy.score(rows).logprobs, np.ones(len(rows), dtype=bool))


def law_of(policy, problems):
    """Probability of every word of the vocabulary where one is wanted, ``[problem, word]``."""
    asked = tuple(behind(one, WANTED) for one in problems)
    rows = given(policy, asked, [[[token] for token in range(len(VOCABULARY))]] * len(asked))
    return np.exp(row_logprobs(rows, policy.score(rows).logprobs)).reshape(len(asked), len(VOCABULARY))


def hint(word):
    """What stands behind the question: nothing of a text that ended at once."""
    return GIVEN if word == "EOS" else f"{GIVEN} {word}"


def drawn(session, policy, abstractions):
    """Whether any draw of the method is right, mean over trials, ``[problem]``."""
    test = session.task.test
    how = AbstractionConfig(
        abstractions=abstractions,
        solutions=DRAWS // abstractions,
        request=WANTED,
        lead=GIVEN,
        hint_tokens=1,
    )
    found = np.zeros(len(test.problems))
    for trial in range(TRIALS):
        asked = Asked(
            policy=policy,
            problems=test,
            draws=range(DRAWS),
            streams=session.streams.child("split", trial),
            limits=Limits(max_new_tokens=session.task.max_new_tokens),
            in_words=False,
        )
        made = elicit(session.lab, ELICITATIONS["abstraction"], how, asked)
        completions = made.elicitation.completions
        _, grades = session.lab.grade(test.grader, test.problems, completions, made.stage, name="grade")
        right = answers("abstraction", test.problems, completions, grades).verified == 1
        found += np.array([right[completions.problem == index].any() for index in range(len(found))])
    return found / TRIALS


def model_of(lab):
    """The session of the base, and the policy that reads and writes words."""
    world = ModesWorld(name="modes")
    recipe = quick(world, steps=STEPS, size=Size(hidden=64, inner=170, layers=2), batch_rows=64)
    task = task_in(lab, pretrained(lab, world, recipe, seed=0), world, per_cell=128, held_out=PROBLEMS)
    session = Session(lab, task, seed=0)
    rows = supervised(task.base, texts_of(session))
    return world, session, session.fit(session.base, rows, FIT, label="read abstractions").policy


def lines_of(world, session, policy):
    """One line of the table a split, and what does not depend on it."""
    problems = session.task.test.problems
    law = law_of(policy, problems)
    every = np.stack([success_of(policy, world, problems, hint(word)) for word in VOCABULARY], axis=1)
    taught = [VOCABULARY.index(word) for word in WORDS]
    success, plain = every[:, taught], success_of(policy, world, problems, "")
    lines = []
    for count, solutions in splits(DRAWS):
        own = np.mean([independent(q, s, count, solutions) for q, s in zip(law, every, strict=True)])
        apart = [distinct(s, count, solutions) for s in success] if count <= len(WORDS) else []
        seen = drawn(session, policy, count)
        one = bootstrap_mean(seen, session.streams.generator("split", count), bounds=(0.0, 1.0))
        shown = f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        lines.append([f"{count} x {solutions}", f"{own:.3f}", shown, f"{np.mean(apart):.3f}" if apart else ""])
        print(*lines[-1], flush=True)
    own = np.array(["fghi".index(one.prompt.split()[2]) for one in problems])
    fitting = success[np.arange(len(own)), own]
    facts = {
        "problems": len(problems),
        "law": ", ".join(f"{word} {law[:, at].mean():.2f}" for word, at in zip(WORDS, taught, strict=True)),
        "strange": 1 - law[:, taught].sum(axis=1).mean(),
        "fitting": fitting.mean(),
        "other": (success.sum() - fitting.sum()) / (success.size - len(own)),
        "plain": plain.mean(),
        "mixed": (law * every).sum(axis=1).mean(),
        "plain any": np.mean(1 - (1 - plain) ** DRAWS),
        "told": np.mean([told(one, DRAWS) for one in success]),
    }
    return lines, facts


TEXT = """\
# How to split draws into abstractions and solutions

*Made by `benchmarks/abstraction_split.py`.*

{draws} draws a problem are split into m abstractions and k solutions of each, and one right solution is
enough. A base of [MODES](../world.md#worlds-with-a-planted-answer-modes) was fitted to four words that name
ways to solve. One of them is right for a problem, which does not say which: exact success behind the right
word is {fitting:.3f}, behind another {other:.3f} (means over {problems} problems). The policy writes each
word when asked for one ({law}; anything else {strange:.4f}). As all verified completions of these problems
are known, success behind every word is a sum, and the worth of every split follows
(`problems/world/split_value.py`):

    independent   1 - (sum_z q_z (1 - s_z)^k)^m
    different     1 - e_m((1 - s_z)^k) / C(Z, m)        m different words, every choice equally likely

The drawn column is `keyturn elicit abstraction`, {trials} trials of {draws} draws, with its interval over
problems.

| m x k | computed | drawn by the method | different words, computed |
| --- | --- | --- | --- |
{table}

One draw behind a word that the policy wrote is right in {mixed:.3f}, one without a word, which the fit did not
teach, in {plain:.3f}. Where the right word is told, any of {draws} draws: {told:.3f}.

**What to read from it.** Of words that are drawn independently, more words with fewer solutions are better at
any fixed m k, whatever the numbers are, since E[f^k]^(1/k) grows with k. The best split, one solution each, is
worth as much as plain draws whose success is what the words have on average. So words that the policy draws by
itself gain nothing by being shared out; they gain where they are *different*, where one draw behind a word is
better than a plain one, or where the policy knows which word fits. A comparison of m x k with pass@(m k) that
does not say how often abstractions repeat cannot tell these apart. Writing an abstraction costs nothing in this
count; where it does, fewer of them are best.
"""


def main():
    """Pretrain, teach words, compute and draw every split, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/abstraction-split"))
    lines, facts = lines_of(*model_of(Lab(parser.parse_args().out, Streams(0))))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    PAGE.write_text(TEXT.format(draws=DRAWS, trials=TRIALS, table=table, **facts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
