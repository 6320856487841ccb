"""slime, prime-rl and verl without them: our credit and loss on their layouts give the gradient of our own."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from keyturn.core.errors import MissingExtraError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.engines import prime_rl, slime, verl
from keyturn.engines.contract import EVERYTHING, Engine, divisors, missing
from keyturn.engines.rows import rows_of, table
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import PolicyTokens, judged, total
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.training.batches import rollout_batch

VOCABULARY, LIMIT, DRAWS = 11, 9, 4
TOKEN_MEAN = grpo(GrpoConfig(aggregation="token-mean"))


def roles_of(completions):
    return np.where(completions.tokens % 2 == 0, Role.STRATEGY, Role.COPY).astype(np.uint8)


class Rows:
    """Eight rows of two problems, a logit for everything, and our own gradient on them."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.lengths = rng.integers(1, LIMIT, 8).tolist()
        self.prompts = [[1, 2, 3]] * DRAWS + [[4, 5]] * DRAWS
        self.group = [0] * DRAWS + [1] * DRAWS
        self.answers = [rng.integers(0, VOCABULARY, n).tolist() for n in self.lengths]
        self.rewards = rng.permutation([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).tolist()
        self.own = [[True] * n for n in self.lengths]
        self.own[0] = [i != 1 for i in range(self.lengths[0])]
        draw = torch.Generator().manual_seed(seed)
        self.logits = [torch.randn(n, VOCABULARY, generator=draw).requires_grad_() for n in self.lengths]
        self.old = [
            self.logprobs(i).detach() + 0.3 * torch.randn(n, generator=draw) for i, n in enumerate(self.lengths)
        ]
        self.reference = [row - 0.2 for row in self.old]
        self.entropies = [self.entropy(i).detach() for i in range(8)]

    def logprobs(self, row):
        chosen = torch.tensor(self.answers[row])[:, None]
        return self.logits[row].log_softmax(-1).gather(1, chosen)[:, 0]

    def entropy(self, row):
        logp = self.logits[row].log_softmax(-1)
        return -(logp.exp() * logp).sum(-1)

    def batch(self):
        completions = rows_of(
            self.prompts,
            self.answers,
            group=self.group,
            truncated=[False] * 8,
            logprobs=[row.tolist() for row in self.old],
            entropies=[row.tolist() for row in self.entropies],
        )
        own = np.concatenate([np.array(row) for row in self.own])
        rewards = np.array(self.rewards, dtype=np.float32)
        batch = rollout_batch(completions, rewards, max_new_tokens=LIMIT, own=own, roles=roles_of(completions))
        return replace(
            batch, reference_logprobs=table(self.reference), streams=Streams(0).child("step", 0, "credit")
        )

    def gradient(self, objective):
        """Ours: all rows at once."""
        batch = judged(objective, self.batch())
        scores = PolicyTokens(
            table([self.logprobs(i) for i in range(8)]), table([self.entropy(i) for i in range(8)])
        )
        terms = objective.loss(scores, batch)
        loss = total(terms, {term.name: term.denominator for term in terms})
        return batch.credit, self.grad(loss)

    def grad(self, loss):
        found = torch.autograd.grad(loss, self.logits, allow_unused=True)
        return torch.cat(
            [torch.zeros_like(w) if g is None else g for g, w in zip(found, self.logits, strict=True)]
        )

    @property
    def tokens(self):
        return sum(map(sum, self.own))


def agree(found, wanted):
    assert wanted.abs().max() > 1e-3
    assert torch.allclose(found, wanted, atol=1e-6)


def carried(engine):
    return [name for name, build in OBJECTIVES.items() if not missing(build(), engine)]


# --- slime


def slime_args(per_token=False, **changes):
    plain = {"calculate_per_token_loss": per_token, "rewards_normalization": False, "context_parallel_size": 1}
    plain |= {"n_samples_per_prompt": DRAWS, "rollout_max_response_len": LIMIT, "use_rollout_logprobs": False}
    return SimpleNamespace(**(plain | changes))


def slime_data(rows, chosen):
    whole = [torch.tensor(rows.prompts[i] + rows.answers[i]) for i in chosen]
    return {
        "tokens": whole,
        "unconcat_tokens": whole,
        "total_lengths": [len(row) for row in whole],
        "response_lengths": [rows.lengths[i] for i in chosen],
        "loss_masks": [torch.tensor(rows.own[i]).int() for i in chosen],
        "log_probs": [rows.old[i] for i in chosen],
        "ref_log_probs": [rows.reference[i] for i in chosen],
        "rewards": [rows.rewards[i] for i in chosen],
        "truncated": [0 for _ in chosen],
        "sample_indices": list(chosen),
    }


@pytest.fixture
def megatron(monkeypatch):
    """slime's reading of packed logits, here of the responses alone."""

    def scores(logits, *, args, unconcat_tokens, total_lengths, response_lengths, with_entropy):
        out = {"log_probs": [], "entropy": []}
        for logit, whole in zip(logits[0].split(response_lengths), unconcat_tokens, strict=True):
            logp = logit.log_softmax(-1)
            out["log_probs"].append(logp.gather(1, whole[-len(logit) :, None])[:, 0])
            out["entropy"].append(-(logp.exp() * logp).sum(-1))
        return None, out

    module = ModuleType("loss")
    module.get_log_probs_and_entropy = scores
    monkeypatch.setitem(sys.modules, "slime.backends.megatron_utils.loss", module)


def slime_gradient(rows, objective, per_token=False, ranks=((0, 5, 6), (1, 2, 3, 4, 7)), whole=True):
    """Two ranks with groups across them, two micro-batches a rank, slime's and Megatron's own divisions."""
    args, parts, found, losses = slime_args(per_token), [], [None] * 8, []
    made = [
        slime.hooks(
            objective,
            roles=roles_of,
            gather=(lambda own: parts) if whole else (lambda own: [own]),
        )
        for _ in ranks
    ]
    parts += [slime._rows(args, slime_data(rows, rank)) for rank in ranks]
    for hooks, rank in zip(made, ranks, strict=True):
        data = slime_data(rows, rank)
        hooks.advantages(args, data)
        for place, row in enumerate(rank):
            found[row] = data["advantages"][place]
        for micro in (rank[:2], rank[2:]):
            batch = slime_data(rows, micro) | {"advantages": [found[i] for i in micro]}
            packed = torch.cat([rows.logits[i] for i in micro])[None]
            losses.append(hooks.loss(args, batch, packed, None)[0])
    return table(found), rows.grad(torch.stack(losses).sum() / (rows.tokens if per_token else 8))


SLIME = {
    f"{name} {per}": (OBJECTIVES[name](), per) for per in (False, True) for name in carried(slime.engine(per))
}
SLIME["with a penalty"] = grpo(GrpoConfig(kl_weight=0.1)), False
SLIME["with a penalty and a bonus"] = (
    grpo(GrpoConfig(aggregation="token-mean", kl_weight=0.1, entropy_weight=0.1)),
    True,
)


@pytest.mark.parametrize("name", SLIME)
def test_slime_gives_our_credit_and_gradient(name, megatron):
    rows, (objective, per_token) = Rows(), SLIME[name]
    credit, gradient = slime_gradient(rows, objective, per_token)
    wanted_credit, wanted = rows.gradient(objective)
    agree(credit, wanted_credit)
    agree(gradient, wanted)


def test_slime_credit_needs_the_rows_of_all_ranks(megatron):
    rows = Rows()
    alone, _ = slime_gradient(rows, grpo(), whole=False)
    assert not torch.allclose(alone, rows.gradient(grpo())[0], atol=1e-2)


def test_slime_refuses_what_would_change_numbers():
    with pytest.raises(UsageError, match="tokens of the update"):
        slime_gradient(Rows(), TOKEN_MEAN)
    with pytest.raises(UsageError, match="disable-rewards-normalization"):
        slime.hooks(grpo()).advantages(slime_args(rewards_normalization=True), {})
    with pytest.raises(UsageError, match="context parallelism"):
        slime.hooks(grpo()).advantages(slime_args(context_parallel_size=2), {})


# --- prime-rl


def trace(rows, row):
    """A system node, then the answer in two nodes; what is not the policy's own lies in the middle."""
    cut = min(2, rows.lengths[row])
    nodes = [SimpleNamespace(token_ids=rows.prompts[row], mask=[False] * len(rows.prompts[row]), logprobs=[])]
    for part in (slice(0, cut), slice(cut, None)):
        own = rows.own[row][part]
        sampled = [value for value, mine in zip(rows.old[row][part].tolist(), own, strict=True) if mine]
        nodes.append(SimpleNamespace(token_ids=rows.answers[row][part], mask=own, logprobs=sampled))
    side = SimpleNamespace(token_ids=[9, 9], mask=[True, True], logprobs=[-1.0, -1.0])
    branches = [SimpleNamespace(trainable=True, nodes=nodes), SimpleNamespace(trainable=False, nodes=[side])]
    return SimpleNamespace(nodes=[*nodes, side], branches=branches, reward=rows.rewards[row], row=row)


@pytest.fixture
def prime(monkeypatch):
    base, routing, losses = (ModuleType(name) for name in ("base", "routing", "loss"))
    base.Algorithm = type("Algorithm", (), {})
    base.iter_trainable_traces = lambda episodes: [(e, t) for e in episodes for t in e.traces]
    routing.assign_advantages = lambda trace, values: setattr(trace, "advantages", values)
    losses.LossOutputs = SimpleNamespace
    monkeypatch.setitem(sys.modules, "prime_rl.orchestrator.algo.base", base)
    monkeypatch.setitem(sys.modules, "prime_rl.orchestrator.algo.routing", routing)
    monkeypatch.setitem(sys.modules, "prime_rl.trainer.rl.loss", losses)


def finish(routine):
    with pytest.raises(StopIteration):
        routine.send(None)


PRIME = {name: OBJECTIVES[name]() for name in carried(prime_rl.PRIME_RL)} | {"grpo token-mean": TOKEN_MEAN}


@pytest.mark.parametrize("name", PRIME)
def test_prime_rl_gives_our_credit_and_gradient(name, prime):
    rows, objective, losses = Rows(), PRIME[name], []
    made = prime_rl.algorithm(objective, max_new_tokens=LIMIT, roles=roles_of)()
    sequence = prime_rl.loss(objective)
    wanted_credit, wanted = rows.gradient(objective)
    for group in (range(DRAWS), range(DRAWS, 8)):
        traces = [trace(rows, row) for row in group]
        finish(made.score_group([SimpleNamespace(traces=traces[:1]), SimpleNamespace(traces=traces[1:])]))
        for one in traces:
            own = torch.tensor(rows.own[one.row])
            credit = torch.zeros(len(own))
            credit[own] = torch.tensor(one.advantages)
            assert torch.allclose(credit, wanted_credit[one.row, : len(own)], atol=1e-5)
            inputs = SimpleNamespace(
                trainer_logprobs=rows.logprobs(one.row),
                inference_logprobs=rows.old[one.row],
                ref_logprobs=None,
                advantages=credit,
                loss_mask=own,
            )
            losses.append(sequence(inputs).loss)
    agree(rows.grad(torch.stack(losses).sum() / rows.tokens), wanted)


def test_prime_rl_says_what_it_cannot_carry(prime):
    with pytest.raises(UsageError, match="rows of the update"):
        prime_rl.loss(grpo())
    with pytest.raises(UsageError, match="whole batch"):
        prime_rl.algorithm(OBJECTIVES["reinforce"](), max_new_tokens=LIMIT)
    with pytest.raises(UsageError, match="under a reference"):
        prime_rl.loss(grpo(GrpoConfig(aggregation="token-mean", kl_weight=0.1)))


# --- verl


class Queue:
    """The rows of a step by field, as verl's transfer queue has them, one padding row behind."""

    def __init__(self, rows):
        def nested(values):
            padding = torch.zeros(3, dtype=values[0].dtype)
            return torch.nested.as_nested_tensor([*values, padding], layout=torch.jagged)

        scores = [torch.zeros(n) for n in rows.lengths]
        for row, reward in enumerate(rows.rewards):
            scores[row][-1] = reward
        self.fields = {
            "uid": np.array([*rows.group, "padding"], dtype=object),
            "prompts": nested([torch.tensor(row) for row in rows.prompts]),
            "responses": nested([torch.tensor(row) for row in rows.answers]),
            "response_mask": nested([torch.tensor(row).long() for row in rows.own]),
            "rm_scores": nested(scores),
            "old_log_probs": nested(rows.old),
            "ref_log_prob": nested(rows.reference),
            "entropy": nested(rows.entropies),
        }

    def kv_batch_get(self, *, keys, partition_id, select_fields):
        return {name: self.fields[name] for name in select_fields if name in self.fields}

    def kv_batch_put(self, *, keys, partition_id, fields):
        self.fields |= fields
        return "put"


@pytest.fixture
def registered(monkeypatch):
    found = {}
    base, core, tensordict = (ModuleType(name) for name in ("trainer_base", "core_algos", "tensordict"))

    def register(kind):
        return lambda name: lambda thing: found.setdefault((kind, name), thing)

    base.get_trainer_cls = lambda name: type("PPOTrainer", (), {"global_steps": 0})
    base.register_trainer = register("trainer")
    core.register_adv_est, core.register_policy_loss = register("estimator"), register("loss")
    tensordict.TensorDict = lambda fields, batch_size: fields
    monkeypatch.setitem(sys.modules, "verl.trainer.ppo.v1.trainer_base", base)
    monkeypatch.setitem(sys.modules, "verl.trainer.ppo.core_algos", core)
    monkeypatch.setitem(sys.modules, "tensordict", tensordict)
    return found


def verl_gradient(rows, loss, credit, info=True):
    """Two ranks of two micro-batches each; gradients of ranks are averaged."""
    config = SimpleNamespace(
        global_batch_info={"dp_size": 2, "batch_num_tokens": rows.tokens, "global_batch_size": 8}
        if info
        else {}
    )
    parts = []
    for micro in ((0, 5), (6,), (1, 2, 3), (4, 7)):
        old, new = table([rows.old[i] for i in micro]), table([rows.logprobs(i) for i in micro])
        mask = table([torch.tensor(rows.own[i]).long() for i in micro])
        advantages = credit[list(micro), : mask.shape[1]]
        parts.append(loss(old, new, advantages, mask, "token-mean", config, None)[0])
    return rows.grad(torch.stack(parts).sum() / 2)


@pytest.mark.parametrize("name", carried(verl.TRAINER))
def test_verls_trainer_gives_our_credit_and_gradient(name, registered, monkeypatch):
    rows, objective = Rows(), OBJECTIVES[name]()
    queue = Queue(rows)
    monkeypatch.setitem(sys.modules, "transfer_queue", queue)
    verl.trainer(objective, max_new_tokens=LIMIT, roles=roles_of)
    metrics = {}
    batch = SimpleNamespace(keys=["k"] * 9, partition_id="train")
    assert registered["trainer", "keyturn"]()._compute_advantage(batch, metrics) == "put"
    credit = table([row[:n] for row, n in zip(queue.fields["advantages"].unbind(), rows.lengths, strict=False)])
    wanted_credit, wanted = rows.gradient(objective)
    agree(credit, wanted_credit)
    assert not queue.fields["advantages"].unbind()[8].any()
    assert metrics["keyturn/credit"] > 0
    loss = verl.policy_loss(objective, max_new_tokens=LIMIT)
    assert registered["loss", "keyturn"] is loss
    agree(verl_gradient(rows, loss, credit), wanted)


def test_verl_without_the_counts_of_the_update_is_another_gradient(registered):
    rows = Rows()
    credit, wanted = rows.gradient(TOKEN_MEAN)
    loss = verl.micro_loss(TOKEN_MEAN, max_new_tokens=LIMIT)
    agree(verl_gradient(rows, loss, credit), wanted)
    assert not torch.allclose(verl_gradient(rows, loss, credit, info=False), wanted, atol=1e-3)


@pytest.mark.parametrize("name", carried(verl.ESTIMATOR))
def test_verls_estimator_gives_our_credit(name, registered):
    rows, objective = Rows(), OBJECTIVES[name]()
    estimate = verl.estimator(objective)
    mask = table([torch.tensor(row).long() for row in rows.own])
    rewards = torch.zeros(mask.shape)
    rewards[:, 0] = torch.tensor(rows.rewards)
    advantages, returns = estimate(rewards, mask, np.array(rows.group, dtype=object), config=None)
    agree(advantages, rows.gradient(objective)[0])
    assert torch.equal(advantages, returns)


# --- what cannot be carried is found by trying


def test_an_engine_is_tried_and_not_listed():
    everything = Engine(name="all")
    assert missing(grpo(GrpoConfig(kl_weight=0.1, entropy_weight=0.1)), everything) == ()
    assert divisors(TOKEN_MEAN) == {"policy": "tokens"}
    assert divisors(grpo()) == {"policy": "rows"}

    def by_entropy(batch):
        return grpo().credit(batch) * batch.entropies

    def by_truth(policy, batch):
        terms = grpo().loss(policy, batch)
        return tuple(term._replace(sum=term.sum * batch.rewards.sum()) for term in terms)

    blind = Engine(name="blind", credit=EVERYTHING - {"entropies"}, loss=EVERYTHING - {"rewards"})
    assert missing(grpo(), blind) == ()
    (reason,) = missing(replace(grpo(), credit=by_entropy), blind)
    assert "entropies at sampling time" in reason
    (reason,) = missing(replace(grpo(), loss=by_truth), blind)
    assert "loss gets no rewards" in reason
    shown = replace(grpo(), needs=frozenset({"demonstration"}))
    assert "demonstrations" in missing(shown, everything)[0]


def test_an_engine_that_is_not_installed_is_named():
    with pytest.raises(MissingExtraError, match="verl"):
        verl.trainer(grpo(), max_new_tokens=LIMIT)
