"""A draft by a model is checked sentence by sentence; whatever a server says, nothing unchecked stands."""

import json
import threading

import pytest
from servers import OPEN, Served, running

from keyturn.atlas import drafting
from keyturn.atlas.answers import answer
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.draft_checks import check_draft
from keyturn.atlas.known import load_known

QUESTION = "create-or-deploy"
ASKED = "Does RL post-training create reasoning or just deploy it?"
FIELDS = OPEN | {"logprobs", "top_logprobs"}


@pytest.fixture(scope="module")
def found():
    atlas = load_atlas()
    return answer(atlas.questions[QUESTION], atlas, load_known(None))


@pytest.fixture(scope="module")
def line(found):
    """A measured line that holds, with an interval."""
    return next(one for one in found.measured if one.state.outcome == "holds" and "[" in one.value)


def why(found, text, *ids):
    (one,) = check_draft([{"text": text, "from": list(ids)}], found)
    return one.why


def test_a_sentence_in_the_words_and_numbers_of_what_it_rests_on_stays(found, line):
    sentence = f"It holds that {line.state.says}: {line.value}."
    assert why(found, sentence, line.state.reading.id) == ""
    for one in found.measured:
        if one.state.outcome in ("holds", "fails"):
            assert why(found, f"This {one.state.outcome}: {one.sentence}", one.state.reading.id) == ""


def test_numbers_states_and_ids_that_are_not_in_the_records_are_struck_out(found, line):
    name, says = line.state.reading.id, line.state.says
    cases = {
        f"It holds that {says}: .99.": "its number .99 is none",
        f"It holds in seventeen seeds, no, in twelve, that {says}.": "its number 'twelve'",
        f"It fails that {says}.": "it says 'fails' of what is holds",
        f"It does not hold that {says}.": "it says 'hold' of what is holds",
        f"It is not contradicted that {says}.": "it denies 'contradicted'",
        "Post-training contradicts the base.": "no relation that it names",
        "Post-training deploys traces of the base.": "it has no number, no state and no relation",
        f"It holds that nothing shows that {says}.": "it denies what it rests on",
        f"It is wrong, and isn’t so, that {says}.": "it denies what it rests on",
        "It holds: transformers dream about electric sheep tonight.": "it speaks of what the answer does not",
        f"It holds that {says}. <b>Sure</b>": "markup",
        f"It holds, see https://evil.example/{says}.": "markup or an address",
        "It holds " + "that post-training deploys " * 40: "characters",
    }
    for text, said in cases.items():
        assert said in why(found, text, name), text
    assert "names nothing" in why(found, f"It holds that {says}: {line.value}.")
    assert "is not in the answer" in why(found, f"It holds that {says}: {line.value}.", name, "made-up/1")


def test_what_fails_or_is_open_is_not_asserted_plainly(found):
    seen = set()
    for one in found.measured:
        state = one.state
        if state.outcome in ("fails", "open"):
            seen.add(state.outcome)
            assert why(found, f"Here {state.reading.says}, {one.value}.", state.reading.id), state.reading.id
            assert "it asserts what is" in why(found, f"There is {one.value}.", state.reading.id)
    assert seen


def test_a_relation_is_said_with_its_own_side(found):
    tension = found.tensions[0].relation
    assert tension.polarity == "against"
    text = "One note of post-training stands in tension with the other"
    assert why(found, text, tension.id) == ""
    assert "no relation" in why(found, "One note of post-training extends the other", tension.id)


@pytest.mark.parametrize(
    "given", [None, 7, "text", [], {}, {"text": 3}, {"text": ""}, {"text": "x", "from": "y"}, {"from": []}]
)
def test_what_is_no_sentence_is_struck_out(found, given):
    (one,) = check_draft([given], found)
    assert one.why


def served(says):
    return Served(says=lambda body, dice: says(body), fields=FIELDS)


def reply(*sentences):
    return json.dumps({"sentences": list(sentences)})


def asked(call, says, *more):
    with running(served(says)) as url:
        return call("ask", ASKED, "--draft", f"{url}#m", *more)


def test_what_stays_stands_below_the_answer_and_what_does_not_is_struck_out(call, line):
    good = {"text": f"It holds that {line.state.says}: {line.value}.", "from": [line.state.reading.id]}
    bad = {"text": "RL creates 99.7 of all reasoning.\x1b[2J", "from": [line.state.reading.id]}
    code, out, err = asked(call, lambda body: f"Here it is:\n```json\n{reply(good, bad)}\n```")
    assert (code, err) == (0, "")
    computed, _, drafted = out.partition("draft by m: 1 of 2 sentences stand")
    assert "what was measured here" in computed
    assert "not for sense" in " ".join(drafted.split())
    kept, _, struck = drafted.partition("struck out")
    assert line.state.reading.id in kept
    assert "~~RL creates 99.7" in struck
    assert "its number 99.7 is none of what it rests on" in " ".join(struck.split())
    assert "\x1b" not in out


def test_json_keeps_the_draft_apart_from_the_answer(call, line):
    good = {"text": f"It holds that {line.state.says}: {line.value}.", "from": [line.state.reading.id]}
    code, out, _ = asked(call, lambda body: reply(good, "x"), "--json")
    document = json.loads(out)
    assert code == 0
    assert [one["text"] for one in document["draft"]["kept"]] == [good["text"]]
    assert len(document["draft"]["struck"]) == 1
    assert good["text"] not in json.dumps(document["answer"])


def test_the_model_gets_the_answer_and_no_record_of_this_machine(call, line, tmp_path):
    bodies = []
    asked(call, lambda body: bodies.append(body) or reply())
    sent = json.dumps(bodies[-1])
    assert line.state.reading.id in sent
    assert str(tmp_path) not in sent


HOSTILE = {
    "no JSON": lambda body: "I would rather not.",
    "another JSON": lambda body: '{"answer": 1} {"sentences": 2}',
    "nested without end": lambda body: '{"sentences": ' + "[" * 100_000,
    "ten megabytes": lambda body: "word " * (2_000_000 if body["max_tokens"] > 2 else 1),
    "nothing": lambda body: "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_reply_that_is_no_draft_is_one_line_below_the_answer(call, name):
    code, out, err = asked(call, HOSTILE[name])
    assert code == 1
    assert "what was measured here" in out
    assert "draft by" not in out
    what, fix = err.splitlines()[-2:]  # a slow machine shows progress before
    assert what.startswith("keyturn: ")
    assert "fix:" in fix


def test_a_server_that_hangs_is_left_alone(call, monkeypatch):
    monkeypatch.setattr(drafting, "SECONDS", 0.3)
    release = threading.Event()
    with running(served(lambda body: release.wait(20) and "")) as url:
        code, out, err = call("ask", ASKED, "--draft", f"{url}#m")
        release.set()
    assert code == 1
    assert "no draft within 0.3 s" in err
    assert "what was measured here" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (ASKED, "--draft", "gpt-5"),
            "no address of a server",
        ),
        (("How do I bake bread?", "--draft", "http://localhost:1/v1#m"), "no answer to draft"),
    ],
)
def test_what_cannot_be_drafted_says_so(call, words, said):
    code, _, err = call("ask", *words)
    assert code == 2
    assert said in err
    assert "fix:" in err
