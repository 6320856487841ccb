"""`keyturn audit` of policies behind servers, from the command line."""

import json
import random
import re

import pytest
import servers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import keyturn
from keyturn.cli.main import main
from keyturn.core.streams import Streams
from keyturn.policies.connect import KEY
from keyturn.policies.loading import save_policy

NOBODY = "http://127.0.0.1:9/v1#m"
K = ("--k", 8, "--n-base", 16, "--max-new-tokens", 8, "--grader", "exact")


@pytest.fixture
def call(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(KEY, raising=False)

    def run(*words):
        code = main([str(word) for word in words])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"id": f"p{n}", "prompt": f"{n} plus one is", "answer": str(n + 1)} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def adder(share):
    """A policy that is right so often, and else writes one of many wrong numbers."""

    def says(body, dice):
        text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        right = int(re.findall(r"(\d+) plus one is", text)[-1]) + 1 if "plus one" in text else 2
        return str(right if dice.random() < share else right + dice.randrange(1, 1000))

    return says


def audited(call, *words):
    code, out, err = call("audit", *words, "--json")
    assert code == 0, err
    [found] = json.loads(out)["audits"]
    return found


def test_two_servers_are_audited_like_two_models(call, problems):
    base, tuned = servers.Served(says=adder(0.25)), servers.Served(says=adder(0.9), models=("tuned",))
    with servers.running(base) as one, servers.running(tuned) as other:
        found = audited(call, f"{one}#m", f"{other}#tuned", "--problems", problems, *K, "--n-base", 64)
    gain = found["verdict"]["masses"]["gain"]
    assert gain["low"] < 0.65 < gain["high"]
    assert found["verdict"]["label"] == "deployed"
    assert found["settings"]["base"]["prompt"].startswith("chat")
    assert found["settings"]["base"]["log-probabilities"] == "given, raw"
    assert {"token_shift", "update_geometry"} <= set(found["left_out"])
    assert found["base"] == f"{one}#m"
    assert sum(body["n"] for body in tuned.bodies if body["max_tokens"] == 8) >= 40 * 8


@pytest.mark.slow
def test_a_policy_behind_a_server_may_be_an_object(problems, tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    size = {"k": 8, "n_base": 16, "max_new_tokens": 8, "grader": "exact"}
    with servers.running(servers.Served(says=adder(0.25))) as one, servers.running(servers.Served()) as other:
        by_name = keyturn.audit(f"{one}#m", f"{other}#m", problems, **size)
        policies = keyturn.load(f"{one}#m"), keyturn.load(f"{other}#m")
        in_memory = keyturn.audit(*policies, problems, **size)
    assert in_memory.verdict.masses == by_name.verdict.masses
    assert in_memory.base == by_name.base == f"{one}#m"


@pytest.mark.slow
def test_a_server_that_ignores_seeds_and_temperature_gives_copies_that_count_once(call, problems):
    """One text a problem, however often it is asked: one draw, and it is said."""
    same = servers.Served(says=lambda body, dice: adder(0.5)(body, random.Random(str(body["messages"]))))
    with servers.running(same) as one, servers.running(servers.Served(says=adder(0.9))) as other:
        found = audited(call, f"{one}#m", f"{other}#m", "--problems", problems, *K)
    assert any(caution["kind"] == "copies" for caution in found["cautions"])
    assert found["verdict"]["label"] in ("undecided", "nothing measured")


@pytest.mark.slow
def test_greedy_servers_are_asked_once_a_problem(call, problems):
    served = servers.Served(says=adder(0.5))
    with servers.running(served) as url:
        audited(call, f"{url}#m", f"{url}#m", "--problems", problems, *K, "--temperature", 0)
    assert sum(body["n"] for body in served.bodies if body["max_tokens"] == 8) <= 2 * 40 * 2, (
        "formats may ask again"
    )


@pytest.mark.slow
def test_draws_that_fail_are_no_wrong_answers(call, problems):
    """A third of all requests is given up by the server: the rest decides."""

    def says(body, dice):
        return adder(0.5)(body, dice)

    broken = servers.Served(says=says, several=False)
    broken.reason = "stop"
    plain = servers.answered

    with servers.running(broken) as url:
        words = (f"{url}#m", f"{url}#m", "--problems", problems, *K, "--server.retries", 0)

        def failing(served, path, body):
            if body["seed"] % 3 == 0 and body["max_tokens"] == 8:
                return 200, {"choices": [{"index": 0, "finish_reason": "abort", "text": ""}]}
            return plain(served, path, body)

        servers.answered = failing
        try:
            found = audited(call, *words)
        finally:
            servers.answered = plain
    rates = [m for m in found["measurements"] if m["name"] == "pass@1" and m["cell"] == {"policy": "base"}]
    assert found["verdict"]["label"] != "created"
    assert all(0.35 < row["value"] < 0.65 for row in rates)


@pytest.mark.parametrize(
    ("served", "name", "more", "said"),
    [
        ({}, "other", (), "known: m"),
        ({"key": "k3y"}, "m", (), f"export {KEY}"),
        ({"models": ("a", "b")}, "", (), "one of a, b"),
        ({"template": False}, "m", ("--template", "chat"), "no chat template"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_drawn(call, problems, served, name, more, said):
    made = servers.Served(**served)
    with servers.running(made) as url:
        code, out, err = call("audit", f"{url}#{name}", f"{url}#{name}", "--problems", problems, *K, *more)
    assert code in (1, 2)
    assert (out, said in err, "Traceback" in err) == ("", True, False), err
    assert all(body["max_tokens"] == 2 for body in made.bodies)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("http://127.0.0.1:9/v1#m", "http://127.0.0.1:9/v1#m"), "nothing answers"),
        ((NOBODY, NOBODY, "--dtype", "float16"), "--dtype would do nothing"),
        (
            ("http://127.0.0.1:9/v1#m", "http://127.0.0.1:9/v1#m", "--device", "cpu"),
            "--device would do nothing",
        ),
        (("chain", "chain", "--server.retries", 3), "--server would do nothing"),
    ],
)
def test_options_of_the_other_kind_are_refused(call, problems, words, said):
    code, _, err = call("audit", *words, "--problems", problems)
    assert (code, said in err) in ((1, True), (2, True)), err


def test_a_server_brings_no_problems_of_its_own(call):
    code, _, err = call("audit", NOBODY, "chain")
    assert (code, "--problems FILE" in err) == (2, True)


@pytest.mark.slow
def test_the_key_is_in_nothing_that_is_written(call, problems, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "s3cret-t0ken")
    with servers.running(servers.Served(says=adder(0.5), key="s3cret-t0ken")) as url:
        code, out, err = call("audit", f"{url}#m", f"{url}#m", "--problems", problems, *K, "--out", "run")
    assert code == 0, err
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) > 5
    assert b"s3cret-t0ken" not in b"".join(path.read_bytes() for path in written)
    assert "s3cret-t0ken" not in out + err


WORDS = ["<pad>", "<eos>", "plus", "one", "is", *map(str, range(60))]


def numbers_model(path):
    """A small model of numbers with its tokenizer, in a folder."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    shape = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), bos_token_id=1, eos_token_id=1, **shape))
    rng = Streams(5).generator("init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.3, tuple(parameter.shape))).float())
    save_policy(path, model, tokenizer)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("served_is_base", [True, False])
def test_a_server_beside_a_local_model_leaves_out_looks_inside_with_the_reason(
    call, problems, tmp_path, served_is_base
):
    folder = numbers_model(tmp_path / "model")
    with servers.running(servers.Served(says=adder(0.5))) as url:
        pair = (f"{url}#m", folder) if served_is_base else (folder, f"{url}#m")
        found = audited(call, *pair, "--problems", problems, *K)
    here, there = ("tuned", "base") if served_is_base else ("base", "tuned")
    for measure in ("token_shift", "role_entropy", "reachability", "update_geometry"):
        assert f"both models in this process, and {there} is behind a server" in found["left_out"][measure]
    assert "server" in found["settings"][there]
    assert "stops at" in found["settings"][here]
    assert found["verdict"]["masses"]["gain"]["value"] * (1 if served_is_base else -1) < 0


@pytest.mark.slow
def test_a_format_arm_that_a_server_refuses_is_left_out_and_the_audit_stands(call, problems, monkeypatch):
    """Solved sums make prompts longer than a server's context: what was drawn before is not lost."""
    plain = servers.answered

    def cramped(served, path, body):
        if "Question:" in json.dumps(body):
            return 400, {"error": {"message": "This model's maximum context length is 64 tokens."}}
        return plain(served, path, body)

    monkeypatch.setattr(servers, "answered", cramped)
    with servers.running(servers.Served(says=adder(0.5))) as url:
        found = audited(call, f"{url}#m", f"{url}#m", "--problems", problems, *K)
    assert "maximum context length" in found["left_out"]["few-shot format"]
    assert found["verdict"]["problems"] == 40
