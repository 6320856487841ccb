"""Critiques agree with the verifier on every domain; what they say by hand; wrong ones are wrong throughout."""

import pytest

from keyturn.core.streams import Streams
from keyturn.problems.world.critique import MARKER, critique, statements
from keyturn.problems.world.demonstrations import demonstrate
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import SPECIALS, WORDS, decode, encode
from keyturn.problems.world.worlds import DOMAINS, WORLDS, problems

STREAMS = Streams(1)
EACH = {domain: problems(WORLDS[domain], "rl", None, 3, STREAMS)[:6] for domain in DOMAINS}


def gold(domain, problem, **manner):
    return decode(demonstrate(WORLDS[domain], problem, STREAMS, **manner).completion, skip_special=True)


def broken(text):
    """The same with one value raised."""
    words = text.split()
    place = [at for at, word in enumerate(words) if word.isdigit()]
    if not place:
        return None
    words[place[-1]] = str((int(words[place[-1]]) + 1) % 3)
    return " ".join(words)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_verdict_is_the_verifiers_and_a_wrong_critique_says_the_opposite(domain):
    world, seen = WORLDS[domain], set()
    for problem in EACH[domain]:
        reader = read_prompt(world, encode(problem.prompt))
        for text in (gold(domain, problem), broken(gold(domain, problem)), "", "ANS", "UNK UNK ; DO"):
            if text is None:
                continue
            verified = read_completion(reader, encode(text)).verified
            told = critique(world, problem, text, STREAMS)
            assert told.approves == verified
            assert told.right
            assert all(check.approved for check in told.checks[:-1])
            assert told.checks[-1].approved == verified
            turned = critique(world, problem, text, STREAMS, right=False)
            assert turned.approves != verified
            assert not turned.right
            assert turned.text() != told.text()
            for one in (told, turned):
                words = one.text().split()
                assert set(words) <= set(WORDS) - {MARKER, *SPECIALS}
                assert words[-1] == ("OK" if one.approves else "BK")
                assert len(one.text(stripped=True).split()) <= len(words)
            seen.add(verified)
    assert seen == {True, False}


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_solution_of_a_right_critique_is_verified_and_stripping_takes_it_out(domain):
    world, problem = WORLDS[domain], EACH[domain][0]
    told = critique(world, problem, "", STREAMS, ended=False)
    solution = decode(told.solution)
    assert read_completion(read_prompt(world, encode(problem.prompt)), encode(solution)).verified
    assert solution in told.text()
    assert solution not in told.text(stripped=True)


def test_chain_by_hand():
    world, problem = WORLDS["chain"], EACH["chain"][0]
    right = gold("chain", problem)
    steps = [step.split() for step in right.split(" ; ")]
    approved = [f"VF {name} {result} OK ;" for name, _, result in steps[:-1]]
    last = steps[-1][1]
    assert critique(world, problem, right, STREAMS).text() == " ".join(
        [*approved, f"VF ANS {last} OK ; ANS {last} OK"]
    )
    name, operand, result = steps[1]
    slip = right.replace(f"{name} {operand} {result} ;", f"{name} {operand} {(int(result) + 1) % 7} ;")
    told = critique(world, problem, slip, STREAMS)
    assert told.text() == f"{approved[0]} VF {name} {result} BK ; {right} BK"
    assert told.text(stripped=True) == f"{approved[0]} VF {name} BK ; BK"


def test_graph_names_the_first_wrong_variable_with_its_right_value():
    world = WORLDS["graph"]
    for problem in EACH["graph"]:
        wrong = gold("graph", problem, strategy="WRNG", format="F2")
        told = critique(world, problem, wrong, STREAMS)
        true = {
            line[-3]: line[-2]
            for line in ([*step.split(), ";"] for step in gold("graph", problem).split(" ;"))
            if "EX" in line
        }
        # Everything before it is right as it stands, and the value of the wrong one is that of the gold trace.
        *before, last = told.text(stripped=True).split(" ; ")[:-1]
        assert all(one.endswith("OK") for one in before)
        assert last == f"VF {last.split()[1]} BK"
        key, value, approved = told.checks[-1]
        assert not approved
        assert decode([value]) == true[decode([key])]
        assert f"{decode([key])} := " in wrong


def test_a_cut_answer_is_not_approved():
    world, problem = WORLDS["chain"], EACH["chain"][0]
    right = gold("chain", problem)
    assert critique(world, problem, right, STREAMS).approves
    cut = critique(world, problem, right, STREAMS, ended=False)
    assert not cut.approves
    assert cut.text(stripped=True).endswith("VF ANS BK ; BK")


def test_nothing_is_no_statement():
    assert statements([], [], []) == ()
