"""What a frontier is run on: names with settings, problems that are judged and others for choices."""

import pytest

from keyturn.auditing.frontier_setting import FEWEST, FrontierRequest, hold_out, setting_of
from keyturn.auditing.frontier_ways import ON_REQUEST, chosen_ways
from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.lab.lab import Lab
from keyturn.policies.by_name import Loading


def test_every_elicitation_method_is_a_way_by_default():
    names = {way.name for way in chosen_ways(())}
    assert names == set(ELICITATIONS) - {"plain"} - ON_REQUEST
    assert set(ELICITATIONS) > ON_REQUEST
    assert [way.name for way in chosen_ways(sorted(ON_REQUEST))] == sorted(ON_REQUEST)


def test_a_name_may_carry_settings_of_their_kind():
    one, two, three = chosen_ways(
        ("self-consistency:samples=64", "tip:words=wait|but,penalty=1.5", "cot-decoding:temperature=1")
    )
    assert one.config.samples == 64
    assert (two.config.words, two.config.penalty) == (("wait", "but"), 1.5)
    assert three.config.temperature == 1.0


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("self-consistancy",), "did you mean self-consistency"),
        (("self-consistency:sample=3",), "did you mean samples"),
        (("self-consistency:samples=many",), "not a number"),
        (("self-consistency:samples",), "has no value"),
        (("plain",), "always on the frontier"),
        (("tuned",), "always on the frontier"),
        (("zero-shot", "zero-shot"), "named twice"),
        (("sft:demonstrations=3",), "cannot be given here"),
    ],
)
def test_a_wrong_name_is_told_with_its_fix(names, said):
    with pytest.raises(UsageError) as refused:
        chosen_ways(names)
    assert said in str(refused.value)


def problems(count):
    return tuple(Problem(id=f"p{i}", prompt=f"{i}", answer=f"{i}") for i in range(count))


@pytest.mark.parametrize("count", [0, 3, 31, 32, 200, 1000])
def test_held_out_problems_are_never_judged(count):
    judged, held = hold_out(problems(count))
    assert {p.id for p in judged} | {p.id for p in held} == {p.id for p in problems(count)}
    assert not {p.id for p in judged} & {p.id for p in held}
    assert not held or len(held) >= FEWEST
    assert bool(held) is (count >= 4 * FEWEST)
    assert hold_out(problems(count)[::-1])[1] == held[::-1], "which ones does not depend on their order"


def test_an_embedded_base_brings_three_disjoint_parts(tmp_path):
    request = FrontierRequest(base="chain", per_cell=4, draws=2)
    setting = setting_of(Lab(tmp_path, Streams(0)), request, Loading(), training=False)
    judged = {p.id for p in setting.asked.problems.problems}
    held = {p.id for p in setting.asked.development.problems}
    shown = {one.problem.id for one in setting.asked.exemplars}
    assert judged
    assert held
    assert shown
    assert not judged & held
    assert not judged & shown
    assert not held & shown
    assert setting.tuned is None, "nothing is trained before it is needed"
    assert setting.trains is not None


def test_problems_behind_the_limit_are_those_for_choices(tmp_path):
    words = tuple(Problem(id=f"p{i}", prompt="BOS CH f 3 ?", answer=f"{i % 5}") for i in range(40))
    request = FrontierRequest(base="chain", problems=words, limit=10, draws=2)
    setting = setting_of(Lab(tmp_path, Streams(0)), request, Loading(), training=False)
    assert [p.id for p in setting.asked.problems.problems] == [f"p{i}" for i in range(10)]
    assert {p.id for p in setting.asked.development.problems} == {f"p{i}" for i in range(10, 40)}
    with pytest.raises(UsageError, match="--train FILE"):
        setting_of(Lab(tmp_path, Streams(0)), request, Loading(), training=True)
