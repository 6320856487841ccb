"""From an address to a policy: what a server takes is tried out, and what is wrong is said first."""

import math

import numpy as np
import pytest
import servers

from keyturn.core.errors import InputError, KeyturnError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.client import ServerConfig, ServerPolicy
from keyturn.policies.connect import KEY, ServerOptions, connect, is_server
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Stop

PROBLEMS = tuple(Problem(id=f"p{i}", prompt=f"{i} + 1 =") for i in range(3))
LIMITS = Limits(max_new_tokens=5)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)


def found(served, name="m", **more):
    with servers.running(served) as url:
        return connect(f"{url}#{name}" if name else url, ServerOptions(), **more)


def shown(policy):
    config = policy.config
    return config.route, config.dialect, config.logprobs, config.draws_a_request


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ({}, ("chat", "open", "raw", 8)),
        ({"template": False}, ("completions", "open", "raw", 8)),
        ({"several": False}, ("chat", "open", "raw", 1)),
        ({"logprobs": False}, ("chat", "open", "off", 1)),
        ({"fields": servers.TRANSFORMERS}, ("chat", "transformers", "raw", 8)),
        ({"fields": servers.TRANSFORMERS - {"logprobs"}, "several": False}, ("chat", "transformers", "off", 1)),
        ({"fields": servers.OPENAI}, ("chat", "openai", "raw", 8)),
        ({"fields": servers.OPEN - {"logprobs"}}, ("chat", "open", "off", 1)),
        ({"models": None}, ("chat", "open", "raw", 8)),
        ({"slots": 4}, ("chat", "open", "raw", 4)),
        ({"slots": 3}, ("chat", "open", "raw", 2)),
    ],
    ids=lambda value: (
        str({name: sorted(it) if name == "fields" else it for name, it in value.items()})
        if isinstance(value, dict)
        else str(value)
    ),
)
def test_what_a_server_takes_is_tried_out(served, expected):
    assert shown(found(servers.Served(**served))) == expected


@pytest.mark.parametrize("stop", [(), ("7",)])
@pytest.mark.parametrize("fields", [servers.OPEN, servers.TRANSFORMERS])
def test_whether_a_server_takes_stop_texts_is_tried_out(fields, stop):
    """`transformers serve` fails on them for some tokenizers, with status 500."""
    for fails in (frozenset(), frozenset({"stop"})):
        served = servers.Served(fields=fields, fails=fails, says=lambda body, dice: "6 7 8")
        with servers.running(served) as url:
            asked = connect(f"{url}#m", ServerOptions(retries=0), stop=stop)
            assert asked.config.stops == (not fails)
            tried = len(served.bodies)
            drawn = asked.having(stops=["8"]).draw(PROBLEMS, range(2), Streams(1), LIMITS)
        assert all(("stop" in body) == (not fails) for body in served.bodies[tried:])
        assert {text.strip() for text in drawn.texts} == {"6" if stop else "6 7"}


def test_a_fault_of_the_server_names_the_longest_prompt():
    """Some fail on a prompt that is longer than the model's context."""
    served = servers.Served(fails=frozenset({"prompt"}))
    with servers.running(served) as url:
        config = ServerConfig(url=url, model="m", retries=0)
        with pytest.raises(InputError, match=r"status 500.*server's log.*7 characters"):
            ServerPolicy(config).draw(PROBLEMS, range(1), Streams(1), LIMITS)


def test_the_template_may_be_asked_for():
    assert shown(found(servers.Served(), template="plain"))[0] == "completions"
    with pytest.raises(InputError, match="no chat template"):
        found(servers.Served(template=False), template="chat")


def test_defaults_of_the_server_are_switched_off_where_it_can(caplog):
    served = servers.Served()
    found(served, temperature=0.7, top_p=0.9)
    last = served.bodies[-1]
    assert (last["top_k"], last["min_p"], last["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert (last["temperature"], last["top_p"]) == (0.7, 0.9)
    assert not caplog.records
    found(servers.Served(fields=servers.OPENAI))
    assert "its own defaults" in caplog.text
    greedy = servers.Served(fields=servers.TRANSFORMERS)
    found(greedy, temperature=0.0)
    assert '"do_sample": false' in greedy.bodies[-1]["generation_config"]


def test_the_only_model_need_not_be_named_and_several_are_listed():
    assert found(servers.Served(models=("only",)), name="").config.model == "only"
    with pytest.raises(UsageError, match=r"needs a model's name.*#NAME, one of one, two"):
        found(servers.Served(models=("one", "two")), name="")
    with pytest.raises(UsageError, match="needs a model's name"):
        found(servers.Served(models=None), name="")


def test_an_unknown_model_is_answered_with_the_near_ones():
    with pytest.raises(UsageError, match=r"unknown model.*'qwen-bsae'.*did you mean qwen-base"):
        found(servers.Served(models=("qwen-base", "qwen-rl")), name="qwen-bsae")
    with pytest.raises(UsageError, match="the name that the server was started with"):
        found(servers.Served(models=None), name="other")


def test_an_address_is_read_as_addresses_are():
    with servers.running(servers.Served(models=("m",))) as url:
        loud = f"HTTP{url.removeprefix('http')}"
        for written in (f"{loud}#m", url.removesuffix("/v1"), f"{url}/", f"{url}#"):
            assert is_server(written)
            assert connect(written, ServerOptions()).config.model == "m"


def test_a_model_with_a_path_for_a_name():
    assert (
        found(servers.Served(models=("/models/a%b c",)), name="/models/a%25b c").config.model == "/models/a%b c"
    )


def test_nothing_that_listens():
    with pytest.raises(InputError, match=r"nothing answers at http://127.0.0.1:9/.*start the server"):
        connect("http://127.0.0.1:9/v1#m", ServerOptions(retries=0))
    with pytest.raises(InputError, match="nothing answers"):
        connect("http://no-such-host.invalid/v1#m", ServerOptions(retries=0))


def test_a_server_that_speaks_no_tls():
    with (
        servers.running(servers.Served()) as url,
        pytest.raises(InputError, match=r"no secure connection.*http://"),
    ):
        connect(url.replace("http:", "https:") + "#m", ServerOptions(retries=0))


@pytest.mark.parametrize("name", ["http://", "http://:80/v1", "http://h:port/v1", "http://h:99999/v1#m"])
def test_what_is_no_address(name):
    assert is_server(name)
    with pytest.raises(UsageError, match="not a server address"):
        connect(name, ServerOptions())


@pytest.mark.parametrize(
    "name", ["http://me:s3cret@h:1/v1#m", "http://s3cret@h:1/v1", "http://h:1/v1?key=s3cret#m"]
)
def test_a_key_in_the_address_is_refused_and_not_repeated(name):
    with pytest.raises(UsageError) as told:
        connect(name, ServerOptions())
    assert "s3cret" not in str(told.value)
    assert KEY in told.value.fix


def test_the_key_is_read_from_the_environment_and_repeated_nowhere(monkeypatch, tmp_path):
    served = servers.Served(key="s3cret")
    with pytest.raises(InputError, match=rf"wants a key \(401\).*export {KEY}"):
        found(served)
    monkeypatch.setenv(KEY, "wr0ng-key")
    with pytest.raises(InputError, match="does not take the key") as told:
        found(served)
    assert "wr0ng-key" not in str(told.value)
    monkeypatch.setenv("MINE", "s3cret")
    with servers.running(served) as url:
        policy = connect(f"{url}#m", ServerOptions(key_variable="MINE"), folder=tmp_path)
        policy.draw(PROBLEMS, range(2), Streams(1), LIMITS)
    assert list(tmp_path.iterdir())
    assert all("s3cret" not in path.read_text() for path in tmp_path.iterdir())


def test_a_key_that_the_server_repeats_is_not_shown():
    """The server's own words are part of a message; the key in them is not."""
    with servers.running(servers.Served(key="right")) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m", retries=0), key="wr0ng-key")
        with pytest.raises(InputError, match=r"Incorrect API key provided: \*\*\*") as told:
            policy.draw(PROBLEMS, range(1), Streams(1), LIMITS)
    assert "wr0ng-key" not in str(told.value)


def test_a_redirect_does_not_carry_the_key_away(monkeypatch):
    monkeypatch.setenv(KEY, "s3cret")
    elsewhere = servers.Served()
    with servers.running(elsewhere) as there, servers.running(servers.Served(redirect=there)) as here:
        with pytest.raises(KeyturnError, match="points to"):
            connect(f"{here}#m", ServerOptions(retries=0))
        policy = ServerPolicy(ServerConfig(url=here, model="m", retries=0), key="s3cret")
        with pytest.raises(InputError, match="points to"):
            policy.draw(PROBLEMS, range(1), Streams(1), LIMITS)
    assert elsewhere.seen == []


def test_what_was_found_out_is_kept_and_a_finished_run_needs_no_server(tmp_path):
    served = servers.Served(template=False)
    with servers.running(served) as url:
        first = connect(f"{url}#m", ServerOptions(), folder=tmp_path)
        drawn = first.draw(PROBLEMS, range(10), Streams(1), LIMITS)
        asked = len(served.bodies)
    again = connect(f"{url}#m", ServerOptions(concurrency=2, retries=0), folder=tmp_path)
    assert (again.config.route, again.fingerprint) == ("completions", first.fingerprint)
    assert again.draw(PROBLEMS, range(10), Streams(1), LIMITS).texts == drawn.texts
    assert len(served.bodies) == asked


def numbered(body, dice):
    return str(dice.randrange(10**9))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_several_draws_a_request_are_several_draws(size):
    served = servers.Served(says=numbered)
    with servers.running(served) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m", draws_a_request=size))
        drawn = policy.draw(PROBLEMS, range(2, 10), Streams(1), LIMITS)
    assert len(served.bodies) == 3 * math.ceil(8 / size)
    assert sum(body["n"] for body in served.bodies) == 24
    assert len(set(drawn.texts)) == 24
    assert drawn.draw.tolist() == [*range(2, 10)] * 3
    assert drawn.problem.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert (drawn.lengths == 1).all()
    assert len({body["seed"] for body in served.bodies}) == len(served.bodies)


def test_a_server_that_gives_fewer_than_asked_gives_errors_not_answers(caplog):
    served = servers.Served(several=False)
    with servers.running(served) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m", draws_a_request=4))
        drawn = policy.draw(PROBLEMS, range(4), Streams(1), LIMITS)
    assert drawn.stop.tolist() == [Stop.EOS, *[Stop.ERROR] * 3] * 3
    assert "9 of 12 draws unanswered" in caplog.text


@pytest.mark.parametrize(
    ("reason", "text", "stop"),
    [
        ("stop", "2", Stop.EOS),
        ("eos", "2", Stop.EOS),
        ("tool_calls", None, Stop.EOS),
        ("length", "2", Stop.LENGTH),
        ("max_tokens", "2", Stop.LENGTH),
        ("length", None, Stop.LENGTH),
        (None, "2", Stop.EOS),
        (None, "1 2 3 4 5", Stop.LENGTH),
        ("abort", "2", Stop.ERROR),
        ("content_filter", "", Stop.ERROR),
    ],
)
@pytest.mark.parametrize("route", ["completions", "chat"])
def test_why_an_answer_ended(reason, text, stop, route):
    served = servers.Served(
        says=lambda body, dice: text if body["n"] == 1 and body["seed"] % 2 else "2", reason=reason
    )
    served.says = lambda body, dice: text if "0 + 1" in str(body) else "2"
    served.reason = reason
    with servers.running(served) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m", route=route, retries=0))
        try:
            drawn = policy.draw(PROBLEMS[:1], range(1), Streams(1), LIMITS)
        except InputError as error:
            assert stop == Stop.ERROR
            assert "answered none" in str(error)  # noqa: PT017
            return
    assert drawn.stop.tolist() == [stop]
    assert drawn.texts == (text or "",)


def test_logprobs_of_several_completions_are_each_their_own():
    with servers.running(servers.Served(says=lambda body, dice: "a b" if dice.random() < 0.5 else "a")) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m", draws_a_request=4))
        drawn = policy.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    assert drawn.lengths.tolist() == [len(text.split()) for text in drawn.texts]
    assert set(drawn.lengths.tolist()) == {1, 2}
    np.testing.assert_allclose(drawn.logprobs, -0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"draws_a_request": 0},
        {"concurrency": 0},
        {"retries": -1},
        {"timeout_s": 0},
        {"temperature": -1},
        {"top_p": 0},
    ],
)
def test_numbers_that_ask_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        ServerConfig(url="http://h", model="m", **wrong)


def test_a_page_of_html_is_no_server():
    served = servers.Served(models=None)
    with servers.running(served) as url, pytest.raises(KeyturnError):
        connect(f"{url}/deeper/path#m", ServerOptions(retries=0))
