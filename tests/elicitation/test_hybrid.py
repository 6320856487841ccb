"""Token-level hybrids against a plain loop that knows nothing of caches, processors or batches."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.choosing import threshold_of
from keyturn.elicitation.gates import gate_bits
from keyturn.policies.beside import ReadsAlong
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sampling import Sampling, choose
from keyturn.policies.sites import Site


def law(policy, tokens):
    with torch.no_grad():
        return policy.model(torch.tensor(tokens)[None]).logits[0, -1].float()


def by_hand(asked, fires, *, backwards=False, within=0):
    """Texts, who chose, and bits, one row and one token at a time: ``fires(base, teacher, state, die)``."""
    base, teacher, rows = asked.policy, asked.teacher, []
    room = asked.limits.max_new_tokens
    for problem in asked.problems.problems:
        prompt = base.prompts([problem]).row(0).tolist()
        for draw in asked.draws:
            uniforms, dice = np.empty((1, room)), np.empty((1, room))
            asked.streams.uniforms([("sample", problem.id, draw)], uniforms)
            asked.streams.uniforms([("hybrid", problem.id, draw)], dice)
            tokens, taught, bits = [], [], 0.0
            for step in range(room):
                ours, theirs = law(base, prompt + tokens), law(teacher, prompt + tokens)
                fired = fires(ours, theirs, dice[0, step], prompt + tokens)
                other = theirs
                if within:
                    allowed = set(ours.topk(within).indices.tolist())
                    cut = [i not in allowed for i in range(len(ours))]
                    other = theirs.masked_fill(torch.tensor(cut), -torch.inf)
                by_teacher = fired != backwards
                chosen = other if by_teacher else ours
                token = int(choose(chosen[None], torch.tensor(uniforms[0, step : step + 1]), Sampling()).token)
                tokens.append(token)
                taught.append(by_teacher)
                if by_teacher:
                    bits -= float(ours.log_softmax(-1)[token]) / np.log(2)
                if token in base.ends:
                    break
            rows.append((tokens, taught, bits))
    return rows


def equal(found, rows, *, told):
    """Whether a method gave what the loop gave, bits included."""
    drawn = found.completions
    if [drawn.row(row).tolist() for row in range(len(drawn))] != [tokens for tokens, _, _ in rows]:
        return False
    taken = np.array([sum(taught) for _, taught, _ in rows], dtype=float)
    lengths = np.array([len(tokens) for tokens, _, _ in rows], dtype=float)
    share = taken / lengths
    with np.errstate(divide="ignore", invalid="ignore"):
        extra = -lengths * np.nansum([share * np.log2(share), (1 - share) * np.log2(1 - share)], axis=0)
    bits = np.array([bits for _, _, bits in rows]) + (extra if told else 0.0)
    return (
        np.array_equal(found.costs.steered, taken)
        and np.allclose(found.costs.teacher_bits, bits, atol=1e-3)
        and np.array_equal(found.costs.passes, 2 * lengths)
    )


def apart(ours, theirs, die, tokens):
    return int(ours.argmax()) != int(theirs.argmax())


def far(threshold):
    def fires(ours, theirs, die, tokens):
        law = theirs.log_softmax(-1)
        return float((law.exp() * (law - ours.log_softmax(-1))).sum()) > threshold

    return fires


def unsure(threshold):
    def fires(ours, theirs, die, tokens):
        return float(torch.distributions.Categorical(logits=ours).entropy()) > threshold

    return fires


def given(**more):
    return made_asked.made("llama", tokens=6, draws=range(1, 3), lengths=(4, 6), **more)


def run(name, asked, **settings):
    method = ELICITATIONS[name]
    config = replace(method.config, **settings)
    prepared = method.prepare(asked, config) if method.prepare is not None else {}
    return method.answer(asked, config, prepared), prepared


def test_the_teachers_token_where_the_two_disagree():
    asked = given()
    found, _ = run("hybrid-disagree", asked)
    rows = by_hand(asked, apart)
    assert equal(found, rows, told=True)
    some = [sum(taught) for _, taught, _ in rows]
    assert 0 < sum(some) < sum(len(tokens) for tokens, _, _ in rows), "both models write"


def test_divergence_and_entropy_have_the_threshold_of_the_bases_own_texts():
    asked = given()
    found, prepared = run("hybrid-divergence", asked, share=0.5, trials=2)
    assert equal(found, by_hand(asked, far(float(prepared["threshold"][0]))), told=True)
    found, prepared = run("hybrid-entropy", asked, share=0.5, trials=2)
    assert equal(found, by_hand(asked, unsure(float(prepared["threshold"][0]))), told=False)
    assert (found.facts["gate_bits"] == 0).all(), "the base finds the place itself"


def test_a_threshold_leaves_the_asked_share_above_it():
    values = np.arange(20.0)
    for share in (0.0, 0.1, 0.5, 1.0):
        assert (values > threshold_of(values, share)).mean() == share
    with pytest.raises(UsageError):
        threshold_of(values, 1.5)


def test_reranking_never_leaves_the_bases_likeliest_tokens():
    asked = given()
    found, _ = run("hybrid-rerank", asked, k=2)
    assert equal(found, by_hand(asked, apart, within=2), told=True)
    assert (found.facts["in_top5"] == found.facts["taken"]).all()
    free, _ = run("hybrid-disagree", asked)
    assert free.costs.teacher_bits.sum() > found.costs.teacher_bits.sum()


def test_backwards_the_teacher_writes():
    asked = given()
    found, _ = run("hybrid-backwards", asked)
    assert equal(found, by_hand(asked, apart, backwards=True), told=True)
    alone, _ = run("hybrid-backwards", asked, taking=0.0, gate="everywhere")
    plain = asked.teacher.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    assert alone.completions.texts == plain.texts, "without places for the base it is the teacher's own text"


def test_random_places_have_the_rate_of_the_other_gate():
    asked = given()
    found, prepared = run("hybrid-random", asked, trials=4)
    rate = float(prepared["rate"][0])
    assert equal(found, by_hand(asked, lambda ours, theirs, die, tokens: die < rate), told=False)
    assert 0 < rate < 1


def test_the_students_probe_reads_the_base_alone():
    asked = given()
    found, prepared = run("hybrid-student", asked, layer=1, trials=4)
    probe, threshold = torch.tensor(prepared["probe"]), float(prepared["threshold"][0])
    seen = []
    hook = Site(layer=1).hook(asked.policy.model, "look", lambda hidden: seen.append(hidden[0, -1]))

    def fires(ours, theirs, die, tokens):
        from keyturn.policies.hooks import hooked

        with hooked(asked.policy.model, [hook]):
            law(asked.policy, tokens)
        return float(seen.pop().double() @ probe) > threshold

    assert equal(found, by_hand(asked, fires), told=False)
    assert 0 < found.costs.steered.sum() < found.completions.lengths.sum()


def test_planning_words_are_looked_for_in_the_teachers_choice():
    asked = given()
    found, prepared = run("hybrid-planning", asked, words=tuple(f"w{i}" for i in range(2, 20)))
    planned = set(prepared["tokens"].tolist())
    assert equal(found, by_hand(asked, lambda o, t, d, k: int(t.argmax()) in planned), told=True)
    with pytest.raises(InputError, match="mostly plans") as refused:
        run("hybrid-planning", asked)
    assert "--words" in refused.value.fix


def test_a_teacher_that_reads_a_token_late_is_found_out(monkeypatch):
    """The broken twin: its cache lags one token behind."""
    own = ReadsAlong.logits

    def late(self, so_far):
        if so_far.tokens.shape[1] > so_far.start:
            shown = so_far.tokens.clone()
            shown[:, -1] = shown[:, -2]
            so_far = so_far._replace(tokens=shown)
        return own(self, so_far)

    asked = given()
    rows = by_hand(asked, apart)
    monkeypatch.setattr(ReadsAlong, "logits", late)
    assert not equal(run("hybrid-disagree", asked)[0], rows, told=True)


def test_rows_that_end_leave_the_teachers_cache_too(monkeypatch):
    """With many rows the sampler drops those that have ended; the answers stay what they are."""
    from keyturn.policies import sampler

    asked = replace(given(), draws=range(12))
    usual, _ = run("hybrid-disagree", asked)
    monkeypatch.setattr(sampler, "FLOOR", 2)
    dropped, _ = run("hybrid-disagree", asked)
    assert dropped.completions.texts == usual.completions.texts
    assert np.allclose(dropped.costs.teacher_bits, usual.costs.teacher_bits, atol=1e-3)
    assert (usual.completions.lengths < 6).any(), "some end early"


def test_what_a_gate_tells():
    fired, tokens = np.array([0.0, 4.0, 2.0, 1.0]), np.array([5.0, 4.0, 4.0, 8.0])
    told = gate_bits(fired, tokens)
    assert np.allclose(told, [0.0, 0.0, 4.0, 8 * (0.125 * 3 + 0.875 * np.log2(8 / 7))])


def test_a_teacher_with_other_words_is_refused():
    import small_models

    asked = given()
    words = small_models.tokenizer()
    words.add_tokens(["other"])
    fine = replace(asked, teacher=LocalPolicy(asked.teacher.model, words))
    run("hybrid-disagree", fine)
    backend = small_models.tokenizer().backend_tokenizer.to_str().replace('"w7"', '"x7"')
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    strange = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(backend), eos_token="<end>")
    other = replace(asked, teacher=LocalPolicy(asked.teacher.model, strange))
    with pytest.raises(InputError, match="'w7' for the base and 'x7' for the teacher"):
        run("hybrid-disagree", other)
    taught = [method for method in ELICITATIONS.values() if "teacher" in method.needs]
    assert len(taught) > 5
    for method in taught:
        # Before anything is drawn: with real models a teacher's texts for thresholds take minutes.
        method.check(fine)
        with pytest.raises(InputError, match="'w7' for the base") as refused:
            method.check(other)
        assert refused.value.fix == "a teacher with the base's tokenizer"


def test_a_teacher_that_cannot_read_the_base_s_words_is_refused():
    import small_models
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    few = 30
    config = {**small_models.SIZES, **small_models.COMMON, "vocab_size": few, "num_key_value_heads": 2}
    model = small_models.spread(LlamaForCausalLM(LlamaConfig(**config)))
    # Its words are the first of the base's; the others it has never seen.
    words = {"<end>" if i == 1 else f"w{i}": i for i in range(few)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    teacher = LocalPolicy(model, PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>"))
    with pytest.raises(InputError, match="writes 40 tokens, and the teacher has embeddings of 30"):
        ELICITATIONS["hybrid-disagree"].check(replace(given(), teacher=teacher))


def test_a_token_without_a_word_that_the_teacher_lacks_is_said_in_a_line():
    """The base has five rows of padding, the teacher has none."""
    asked = replace(made_asked.made("gpt2", draws=range(8)), teacher=made_asked.other("llama"))
    ELICITATIONS["hybrid-disagree"].check(asked)
    with pytest.raises(InputError, match=r"wrote token 4[0-4], which stands for no word.*40 rows"):
        run("hybrid-disagree", asked, taking=0.0)


def test_the_share_that_is_taken_is_a_share():
    asked = given()
    with pytest.raises(UsageError, match="share from 0 to 1"):
        run("hybrid-disagree", asked, taking=2.0)
