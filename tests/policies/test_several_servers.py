"""Several servers of one model: balanced, one may die, and what was drawn stays drawn."""

import json
import threading
import time
from collections import Counter

import pytest
import servers

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.balance import LONGEST_REST_S, Addresses
from keyturn.policies.client import ServerConfig, ServerPolicy
from keyturn.policies.connect import ServerOptions, connect
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Stop

PROBLEMS = tuple(Problem(id=f"p{i}", prompt=f"{i} plus one is", answer=str(i + 1)) for i in range(6))
LIMITS = Limits(max_new_tokens=4)


def numbered(body, dice):
    return "same" if body["temperature"] == 0 else str(dice.randrange(10**9))


def slowly(body, dice):
    time.sleep(0.02)
    return numbered(body, dice)


def drawn_by(served):
    return [body for body in served.bodies if body["max_tokens"] == LIMITS.max_new_tokens]


def test_requests_are_balanced_and_the_draws_are_those_of_one_server(tmp_path):
    one, other = servers.Served(says=slowly), servers.Served(says=slowly)
    with servers.running(one) as a, servers.running(other) as b:
        alone = connect(f"{a}#m", ServerOptions(draws_a_request=1)).draw(PROBLEMS, range(8), Streams(1), LIMITS)
        before = len(drawn_by(one))
        both = connect(f"{a},{b}#m", ServerOptions(draws_a_request=1, concurrency=2))
        together = both.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    assert together.texts == alone.texts
    shares = (len(drawn_by(one)) - before, len(drawn_by(other)))
    assert sum(shares) == 48
    assert min(shares) >= 12, shares


def test_each_address_has_its_own_requests_in_flight():
    now, most, lock = Counter(), Counter(), threading.Lock()

    def counted(name):
        def says(body, dice):
            with lock:
                now[name] += 1
                most[name] = max(most[name], now[name])
            time.sleep(0.03)
            with lock:
                now[name] -= 1
            return "2"

        return says

    with (
        servers.running(servers.Served(says=counted("a"), several=False)) as a,
        servers.running(servers.Served(says=counted("b"), several=False)) as b,
    ):
        policy = ServerPolicy(ServerConfig(url=a, others=(b,), model="m", concurrency=3))
        policy.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    assert most["a"] <= 4
    assert most["b"] <= 4
    assert sum(most.values()) >= 5


def test_a_server_that_dies_in_the_middle_loses_nothing():
    one, other = servers.Served(says=slowly), servers.Served(says=slowly)
    with servers.running(one) as a:
        with servers.running(other) as b:
            config = ServerConfig(url=a, others=(b,), model="m", concurrency=2, pause_s=0.05)
            policy = ServerPolicy(config)
            found = []
            thread = threading.Thread(
                target=lambda: found.append(policy.draw(PROBLEMS, range(20), Streams(1), LIMITS))
            )
            thread.start()
            while len(other.bodies) < 5:
                time.sleep(0.01)
        # The other server is gone now; its requests go to the first one.
        thread.join(60)
    [drawn] = found
    assert (drawn.stop != Stop.ERROR).all()
    assert len(set(drawn.texts)) == len(drawn) == 120
    assert len(one.bodies) > 60


def test_a_first_server_that_is_down_from_the_start_is_passed_over():
    served = servers.Served(says=numbered)
    with servers.running(servers.Served()) as gone:
        pass
    with servers.running(served) as up:
        policy = ServerPolicy(ServerConfig(url=gone, others=(up,), model="m", retries=0, pause_s=0.01))
        drawn = policy.draw(PROBLEMS, range(3), Streams(1), LIMITS)
    assert (drawn.stop != Stop.ERROR).all()


def test_a_run_goes_on_with_other_servers_behind_the_same_first_address(tmp_path):
    one, other, third = (servers.Served(says=numbered) for _ in range(3))
    with servers.running(one) as a:
        with servers.running(other) as b:
            first = connect(f"{a},{b}#m", ServerOptions(), folder=tmp_path)
            drawn = first.draw(PROBLEMS, range(8), Streams(1), LIMITS)
        asked = len(one.bodies)
        with servers.running(third) as c:
            again = connect(f"{a},{b},{c}#m", ServerOptions(), folder=tmp_path)
            assert again.fingerprint == first.fingerprint == connect(f"{a}#m", ServerOptions()).fingerprint
            before = len(drawn_by(one)) + len(drawn_by(third))
            assert again.draw(PROBLEMS, range(8), Streams(1), LIMITS).texts == drawn.texts
            assert len(drawn_by(one)) + len(drawn_by(third)) == before
    assert len(one.bodies) > asked, "the new address was compared with the first"
    [kept] = tmp_path.glob("*.json")
    assert json.loads(kept.read_text())["compared"] == [b, c]


def other_model(body, dice):
    return "different" if body["temperature"] == 0 else "x"


def one_of_three(body, dice):
    """The same model on other hardware: one greedy answer of three turns at a tie."""
    return "tie" if "capital" in json.dumps(body) else numbered(body, dice)


def test_a_server_of_another_model_is_refused_before_anything_is_drawn():
    with (
        servers.running(servers.Served(says=numbered)) as a,
        servers.running(servers.Served(says=other_model)) as b,
        pytest.raises(InputError, match="they serve different models"),
    ):
        connect(f"{a},{b}#m", ServerOptions())


def test_one_greedy_answer_that_turns_at_a_tie_is_no_other_model():
    with (
        servers.running(servers.Served(says=numbered)) as a,
        servers.running(servers.Served(says=one_of_three)) as b,
    ):
        connect(f"{a},{b}#m", ServerOptions())


def test_servers_that_want_to_be_asked_in_different_ways_are_refused():
    with (
        servers.running(servers.Served(says=numbered)) as a,
        servers.running(servers.Served(says=numbered, logprobs=False)) as b,
        pytest.raises(InputError, match=r"in another way than .* \(logprobs"),
    ):
        connect(f"{a},{b}#m", ServerOptions())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("http://a:1/v1#m,http://b:1/v1#m", "named once"),
        ("http://a:1/v1,b:1/v1#m", "not a server address: b:1/v1"),
        ("http://a:1/v1,http://u:p@b:1/v1#m", "no key may be in it"),
        ("http://a:1/v1,#m", "not a server address"),
    ],
)
def test_addresses_that_are_none(name, said):
    with pytest.raises(UsageError, match=said):
        connect(name, ServerOptions())


def test_an_address_rests_longer_with_each_failure_and_once_for_what_fails_together(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("keyturn.policies.balance.time.monotonic", lambda: clock[0])
    to = Addresses(["a", "b"])
    assert [to.take(), to.take(), to.take()] == ["a", "b", "a"]
    assert to.failed("a", 1.0) == 0.0, "b is ready"
    to.failed("a", 1.0)
    assert [to.take() for _ in range(3)] == ["b"] * 3
    clock[0] += 1.01
    assert to.take() == "a", "its rest was one second, although two requests failed"
    to.failed("a", 1.0)
    clock[0] += 1.01
    assert to.take() == "b", "now it rests for two"
    assert to.failed("b", 1.0) == pytest.approx(0.99)
    for _ in range(20):
        clock[0] += 100
        to.take()
        assert to.failed("a", 1.0) <= LONGEST_REST_S
    assert Addresses(["only"]).failed("only", 1.0, 5.0) == 5.0
