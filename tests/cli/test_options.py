"""The words of a command line: switches, options that nothing reads, names of models."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import tyro

from keyturn.auditing.embedded import MODELS
from keyturn.auditing.model_places import place_of
from keyturn.cli.main import main
from keyturn.cli.options import positional, settled, switches
from keyturn.cli.train import every_switch
from keyturn.core.errors import UsageError
from keyturn.policies.model_folder import near_folders


@dataclass(frozen=True, kw_only=True)
class Inner:
    deep_switch: bool = False
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Shared:
    dry_run: bool = False
    inner: Inner = Inner()


def verb(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    json: bool = False,
    text: str = "",
    shared: Annotated[Shared, tyro.conf.arg(name="")] = Shared(),
    mine: Inner = Inner(),
) -> tuple:
    """A verb of the tests."""
    return names, json, text, shared, mine


def read(*words):
    return tyro.cli(verb, args=settled(words, switches(verb)))


def test_switches_are_found_at_any_depth():
    assert switches(verb) == {"json", "dry-run", "inner.deep-switch", "mine.deep-switch"}


@pytest.mark.parametrize("value", ["False", "false", "no", "0", "off", "FALSE"])
def test_a_switch_may_be_given_its_value(value):
    assert read(f"--json={value}") == read()
    on = {"false": "true", "no": "yes", "0": "1", "off": "on"}[value.lower()]
    assert read(f"--json={on}") == read("--json")
    assert read("--json", f"--json={value}") == read(), "the last word counts"
    assert read(f"--mine.deep-switch={on}", f"--inner.deep_switch={on}") == read(
        "--mine.deep-switch", "--inner.deep-switch"
    )
    assert read(f"--mine.deep-switch={value}") == read()


def test_only_switches_are_read_so():
    assert read("--text=False")[2] == "False"
    assert read("--mine.number=1")[4] == Inner(number=1)
    with pytest.raises(UsageError, match=r"--json is a switch.*--json or --no-json"):
        read("--json=perhaps")


def test_no_switch_of_any_method_takes_the_word_behind_it():
    """A switch that is taken for an option with a value would swallow the method or the model."""
    for switch in every_switch():
        assert positional([f"--{switch}", "grpo", "chain"], every_switch()) == ["grpo", "chain"], switch
    assert "then-rlvr" in every_switch()


SAMPLES = ("audit", "--samples", "a.jsonl", "b.jsonl")
FILE = ("audit", "a", "b", "--problems", "p.jsonl")
WORLD = ("audit", "graph", "chain")
EMBEDDED = ("audit",)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (SAMPLES, ("--temperature", 0.5)),
        (SAMPLES, ("--temperature", "nan")),
        (SAMPLES, ("--top-p", 0.5)),
        (SAMPLES, ("--worlds", "nowhere")),
        (SAMPLES, ("--device", "cpu")),
        (SAMPLES, ("--dtype", "float16")),
        (SAMPLES, ("--n-base", 64)),
        (SAMPLES, ("--limit", 3)),
        (SAMPLES, ("--limit", -1)),
        (SAMPLES, ("--per-cell", 3)),
        (SAMPLES, ("--workers", 2)),
        (SAMPLES, ("--max-new-tokens", 5)),
        (SAMPLES, ("--template", "chat")),
        (SAMPLES, ("--revision", "main")),
        (SAMPLES, ("--trust-remote-code",)),
        (SAMPLES, ("--allow-pickle=true",)),
        (FILE, ("--worlds", "graph")),
        (FILE, ("--per-cell", 3)),
        (FILE, ("--workers", 2)),
        (FILE, ("--columns.answer", "gold")),
        (WORLD, ("--limit", 3)),
        (WORLD, ("--draws-independent",)),
        (WORLD, ("--grader", "math")),
        (WORLD, ("--max-new-tokens", 5)),
        (WORLD, ("--columns.answer", "gold")),
        (EMBEDDED, ("--problems", "p.jsonl")),
        (EMBEDDED, ("--temperature", 0.5)),
        (EMBEDDED, ("--device", "cpu")),
        (EMBEDDED, ("--grader", "math")),
        (EMBEDDED, ("--limit", 3)),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_audit_refuses_an_option_that_would_do_nothing(call, way, words):
    code, _, said = call(*way, *words)
    assert code == 2
    option = str(words[0]).split("=")[0].split(".")[0]
    assert f"{option} would do nothing" in said
    assert "leave it out" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*FILE, "--limit", -1), "--limit is -1"),
        ((*FILE, "--max-new-tokens", -5), "--max-new-tokens is -5"),
        ((*WORLD, "--per-cell", 0), "--per-cell is 0"),
        ((*EMBEDDED, "--workers", -1), "--workers is -1"),
        ((*FILE, "--dtype", "fp8"), "fp8"),
        ((*SAMPLES, "--dtype", "fp8"), "fp8"),
        (("train", "grpo", "chain", "--teacher", "graph"), "no teacher"),
        (("train", "sft", "chain", "--teacher", "graph"), "no teacher"),
        (("train", "sft", "http://h:1/v1#m"), "training needs its weights"),
        (("train", "distill", "chain", "--teacher", "http://h:1/v1#m"), "training needs its weights"),
        (("audit", "localhost:8000/v1#m", "chain"), "http://host:port/v1#model"),
        (("train", "grpo", "chain", "--demonstrations-a-step", 3), "no demonstrations"),
        (("train", "grpo", "chain", "--problems", "p.jsonl", "--per-cell", 3), "--per-cell would do nothing"),
        (("claim", "run", "rl-narrows", "--problems", "p.jsonl"), "without --tuned"),
        (("claim", "run", "rl-narrows", "--profile", "long"), "does not use --profile"),
        (("claim", "run", "rl-narrows", "--workers", 2), "does not use --workers"),
        (("claim", "run", "rl-narrows", "--base", "chian"), "did you mean chain"),
    ],
    ids=lambda words: " ".join(map(str, words)) if isinstance(words, tuple) else "",
)
def test_what_counts_nothing_or_is_read_by_nothing_is_refused(call, tmp_path, words, said):
    (tmp_path / "p.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
    code, _, found = call(*words)
    assert (code, said in found) == (2, True), found


def test_the_help_of_a_method_names_method_and_model(capfd):
    for method in ("grpo", "sft"):
        for more in ((), ("chain",), ("chain", "--seed", "3")):
            assert main(["train", method, *more, "--help"]) == 0
            out = capfd.readouterr().out
            assert "METHOD MODEL" in out
            assert "a method or an objective" in out


def a_model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


def test_a_run_stands_for_the_policy_that_it_saved_and_a_folder_goes_first(tmp_path, caplog):
    assert place_of("graph") == str(MODELS / "graph")
    a_model(tmp_path / "runs" / "rl" / "model")
    assert place_of("runs/rl") == "runs/rl/model"
    assert place_of("runs/rl/model") == "runs/rl/model"
    assert place_of("owner/name") == "owner/name"
    assert not caplog.records
    a_model(tmp_path / "graph")
    assert place_of("graph") == "graph"
    assert "model folder here" in caplog.text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("runs/rll/model", "runs/rl/model"),
        ("rns/rl/model", "runs/rl/model"),
        ("./run/rl", "runs/rl"),
        ("runs/rl/modle", "runs/rl/model"),
        ("grahp", "graph"),
        ("chain-base", "chain or chain-bas"),
    ],
)
def test_a_typo_in_a_model_is_answered_with_what_was_meant(tmp_path, written, meant):
    a_model(tmp_path / "runs" / "rl" / "model")
    a_model(tmp_path / "chain-bas")
    (tmp_path / "runs" / "empty").mkdir()
    with pytest.raises(UsageError) as told:
        place_of(written)
    assert f"no model {written!r}" in str(told.value)
    assert f"did you mean {meant}" in told.value.fix


@pytest.mark.parametrize(
    "verb_words", [("train", "grpo", "{}"), ("audit", "{}", "chain"), ("audit", "chain", "{}")]
)
def test_every_verb_answers_a_typo_in_a_model_as_such(call, verb_words):
    code, _, said = call(*(word.format("chian") for word in verb_words))
    assert code == 2
    assert "no model 'chian'" in said
    assert "did you mean chain" in said
    assert "problems" not in said


def test_near_folders_are_looked_for_where_the_path_leads(tmp_path):
    a_model(tmp_path / "runs" / "one" / "model")
    assert near_folders(tmp_path / "runs" / "one_" / "model") == [str(tmp_path / "runs" / "one" / "model")]
    assert near_folders(tmp_path / "elsewhere" / "at" / "all") == []
