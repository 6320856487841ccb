"""The search of NIM: the rules by hand, wins and losses by exhaustion, laws and costs by hand, and twins that
cheat."""

from dataclasses import replace
from functools import cache

import made_asked
import numpy as np
import pytest
import small_models
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation import ELICITATIONS, nim_search, tree_search
from keyturn.elicitation.choosing import threshold_of
from keyturn.elicitation.contract import Elicitation
from keyturn.elicitation.drafts import Drafts
from keyturn.elicitation.nim_laws import laws
from keyturn.elicitation.nim_rules import after, legal_moves, positions_of, prompt_of, said
from keyturn.elicitation.tree_search import TreeSearch
from keyturn.policies.local import LocalPolicy
from keyturn.problems.world import nim_play
from keyturn.problems.world.nim_play import Node, Position
from keyturn.problems.world.worlds import WORLDS

LEAD = "DIR ANS"


def run(name, asked, **settings):
    method = ELICITATIONS[name]
    config = replace(method.config, **{"simulations": 3} | settings)
    prepared = method.prepare(asked, config) if method.prepare is not None else {}
    return method.answer(asked, config, prepared)


@cache
def lost(position):
    """By trying out every game."""
    return all(not lost(after(position, move)) for move in legal_moves(position))


def searched_by_rules(position, simulations, seed=0):
    search = TreeSearch(
        position, exploration=1.0, dice=np.random.default_rng(seed), asks=False, plays=False
    ).run(simulations)
    with pytest.raises(StopIteration) as end:
        next(search)
    return end.value.value


def row_law(asked, text):
    with torch.no_grad():
        ids = torch.tensor([asked.policy.tokenizer(text, add_special_tokens=False)["input_ids"]])
        found = asked.policy.model(ids).logits[0, -1].double().softmax(-1)
    return lambda word: float(found[asked.policy.tokenizer(word, add_special_tokens=False)["input_ids"][0]])


def by_hand(asked, position):
    """Probability of every answer, one text at a time."""
    start = f"{prompt_of(position)} {LEAD}"
    first = row_law(asked, start)
    found = {"~": first("~")}
    for move in legal_moves(position):
        heap, amount = said(move).split()
        found[said(move)] = first(heap) * row_law(asked, f"{start} {heap}")(amount)
    total = sum(found.values())
    return {word: one / total for word, one in found.items()}


def test_the_rules_are_those_of_the_game():
    position = Position(3, (2, 5))
    assert legal_moves(position) == (Node(0, 1), Node(0, 2), Node(1, 1), Node(1, 2), Node(1, 3))
    assert after(position, Node(0, 2)) == Position(3, (5,))
    assert after(position, Node(1, 3)) == Position(3, (2, 2))
    assert legal_moves(after(Position(3, (2,)), Node(0, 2))) == ()
    assert prompt_of(position) == "BOS CTL8 - 3 ; f 2 g 5 ?"
    assert (said(Node(1, 3)), said(None)) == ("g 3", "~")


@pytest.mark.parametrize("sizes", [(1, 2), (2, 2), (3, 1), (3, 3), (2, 3), (4, 1), (3,)])
def test_enough_simulations_play_small_games_right_by_the_rules_alone(sizes):
    position = Position(2, sizes)
    found = searched_by_rules(position, 400)
    assert (found.value < 0) == lost(position)
    assert lost(position) or lost(after(position, found.move))
    assert found.asked == 0
    assert found.nodes > 1


def test_a_search_by_other_rules_is_found_out(monkeypatch):
    """The broken twin takes one at a time, whatever K is."""
    monkeypatch.setattr(tree_search, "legal_moves", lambda position: legal_moves(Position(1, position.sizes)))
    with pytest.raises(AssertionError):
        test_enough_simulations_play_small_games_right_by_the_rules_alone((3,))


def test_the_prior_is_the_policys_law_over_answers():
    asked = made_asked.of_nim()
    positions = [*positions_of(asked.problems.problems, "it"), Position(3, (2,)), Position(1, (1, 4, 4))]
    for position, law in zip(positions, laws(asked, positions, LEAD), strict=True):
        hand = by_hand(asked, position)
        assert law.none == pytest.approx(hand["~"], rel=1e-4)
        assert law.moves == pytest.approx([hand[said(one)] for one in legal_moves(position)], rel=1e-4)
        first, second = sorted(hand.values())[::-1][:2]
        assert law.margin == pytest.approx(first - second, rel=1e-3, abs=1e-6)


def test_one_simulation_takes_the_policys_likeliest_move_and_costs_what_the_hand_counts():
    asked = made_asked.of_nim(draws=range(1, 3))
    found = run("nim-search", asked, simulations=1, resign=-1.0)
    positions = positions_of(asked.problems.problems, "it")
    for row, problem in enumerate(found.completions.problem.tolist()):
        position = positions[problem]
        hand = by_hand(asked, position)
        move = max(legal_moves(position), key=lambda one: hand[said(one)])
        text = found.completions.texts[row]
        assert text.startswith(f"{LEAD} {said(move)}")
        # A text of h heaps and the lead has 8 + 2 h tokens, and one more with the name of a heap behind it.
        heaps = [len(one.sizes) for one in (position, after(position, move))]
        texts = [1 + count for count in heaps]
        read = [(8 + 2 * count) * (1 + count) + count for count in heaps]
        own = found.completions.lengths[row] - 4
        # The root is read once for two draws; the answer's end reads the prompt and four words.
        assert found.costs.generated[row] == texts[0] / 2 + texts[1] + own
        assert found.costs.read[row] == read[0] / 2 + read[1] + 6 + 2 * heaps[0] + 4
        assert found.costs.passes[row] == found.costs.generated[row]
        assert found.facts["nodes"][row] == found.facts["positions read"][row] == 2
    assert not any(column.any() for column in (found.costs.checks, found.costs.steered))


def test_the_rules_alone_cost_the_end_of_the_answer():
    asked = made_asked.of_nim()
    found = run("nim-search-rules", asked)
    words = np.array([3 if "~" in text else 4 for text in found.completions.texts])
    assert (found.costs.generated == found.completions.lengths - words).all()
    assert (found.facts["searched"] == 1).all()
    assert (found.facts["positions read"] == 0).all()
    assert (found.facts["plies"] > 0).all()


def test_games_that_the_policy_plays_read_it_at_every_new_position():
    asked = made_asked.of_nim(draws=range(1))
    chance, policy = (run("nim-search", asked, playouts=one) for one in ("chance", "policy"))
    assert (policy.facts["positions read"] > chance.facts["positions read"]).all()
    assert (policy.costs.generated > chance.costs.generated).all()


def test_margins_are_compared_with_those_of_past_problems():
    asked = made_asked.of_nim()
    found = run("nim-search-unsure", asked, share=0.5)

    def unsure(problems):
        tops = [sorted(by_hand(asked, one).values())[::-1] for one in positions_of(problems, "it")]
        return np.array([1 - (top[0] - top[1]) for top in tops])

    scores, past = unsure(asked.problems.problems), unsure(asked.development.problems)
    assert found.facts["score"] == pytest.approx(np.repeat(scores, 3), rel=1e-4)
    assert found.facts["searched"].tolist() == np.repeat(scores > threshold_of(past, 0.5), 3).tolist()
    last = run("nim-search-unsure", asked, share=1.0, window=1)
    assert last.facts["searched"].tolist() == np.repeat(scores >= past[-1] - 1e-6, 3).tolist()
    with pytest.raises(UsageError, match="window"):
        run("nim-search-unsure", asked, window=-1)


def check_alone(answer, asked):
    """Whether a problem is searched does not depend on what is asked with it."""
    together = answer(asked).facts["searched"]
    rows = len(asked.draws)
    alone = [answer(asked.of([one])).facts["searched"] for one in asked.problems.problems]
    assert np.concatenate(alone).tolist() == together.tolist()
    assert 0 < together.sum() < rows * len(asked.problems.problems)


def test_a_gate_that_looks_at_later_problems_is_found_out():
    asked = made_asked.of_nim(draws=range(1))
    past = nim_search.by_margin(asked, nim_search.GatedConfig()).score
    middle = float(np.sort(past)[:2].mean())
    config = nim_search.GatedConfig(simulations=1)
    check_alone(lambda one: nim_search.answer(nim_search.by_margin, one, config, middle), asked)

    def peeks(one):
        """Its window holds the margins of all that is asked."""
        seen = nim_search.by_margin(one, config).score
        return nim_search.answer(nim_search.by_margin, one, config, float(threshold_of(seen, 0.67)[0]))

    with pytest.raises(AssertionError):
        check_alone(peeks, asked)


def check_blind(answer, asked, monkeypatch):
    """The answers are the same with other gold answers, and come about without what knows the winning moves."""
    own = answer(asked).completions.texts

    def looked_up(*_):
        raise AssertionError("the worth of a position was looked up")

    wrong = [replace(one, answer="h 9", facts={}) for one in asked.problems.problems]
    with monkeypatch.context() as patch:
        patch.setattr(Position, "worths", property(looked_up))
        patch.setattr(nim_play, "winning_moves", looked_up)
        assert answer(asked.of(wrong)).completions.texts == own


@pytest.mark.parametrize("name", ["nim-search", "nim-search-rules", "nim-search-random"])
def test_a_search_knows_the_rules_and_no_answer(name, monkeypatch):
    check_blind(lambda one: run(name, one), made_asked.of_nim(draws=range(1)), monkeypatch)


def told(asked, words):
    drafts = Drafts(asked)
    drafts.write([f"{LEAD} {one}" for one in words])
    drafts.grow()
    return Elicitation(completions=drafts.completions(), costs=drafts.costs)


def reads_the_gold_answer(asked):
    return told(asked, [one.answer for one in asked.problems.problems])


def knows_the_theory(asked):
    wins = [nim_play.winning_moves(one) for one in positions_of(asked.problems.problems, "it")]
    return told(asked, [said(one[0] if one else None) for one in wins])


@pytest.mark.parametrize("twin", [reads_the_gold_answer, knows_the_theory], ids=lambda one: one.__name__)
def test_a_search_that_knows_the_answer_is_found_out(twin, monkeypatch):
    with pytest.raises(AssertionError):
        check_blind(twin, made_asked.of_nim(draws=range(1)), monkeypatch)


def test_the_oracle_asks_the_grader_about_other_draws():
    asked = made_asked.of_nim(draws=range(2))
    found = run("nim-search-oracle", asked, trials=3, simulations=8)
    assert (found.costs.checks == 3).all(), "six checks a problem, for two draws"
    assert (found.facts["searched"] == (found.facts["score"] > 0)).all()
    with pytest.raises(UsageError, match="trials"):
        run("nim-search-oracle", asked, trials=0)


@pytest.mark.parametrize("name", [name for name in ELICITATIONS if name.startswith("nim-search")])
def test_what_is_not_nim_is_refused_in_one_line(name):
    with pytest.raises(InputError, match="shows no position") as refused:
        run(name, made_asked.made())
    assert "\n" not in str(refused.value)
    assert "keyturn world pretrain nim" in refused.value.fix
    assert "nim" in WORLDS, "the fix names a world"


def test_a_policy_without_the_words_is_refused():
    asked = made_asked.of_nim()
    strange = LocalPolicy(small_models.family("llama"), small_models.tokenizer())
    with pytest.raises(InputError, match="no token of its own"):
        run("nim-search", replace(asked, policy=strange))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("nim-search", {"simulations": -1}, "simulations"),
        ("nim-search", {"exploration": -0.5}, "exploration"),
        ("nim-search-random", {"share": 1.5}, "share"),
        ("nim-search-unsure", {"share": 1.5}, "share"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, settings, said):
    with pytest.raises(UsageError, match=said):
        run(name, made_asked.of_nim(), **settings)
