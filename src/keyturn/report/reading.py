"""How to read each number, one sentence each."""

from __future__ import annotations

from keyturn.measures import MEASURES

VERDICT: dict[str, str] = {
    "K": "The budget: what the base does within K draws, it could already do.",
    "gain": "Mean success of the tuned policy less that of the base.",
    "deployed": "The part of the gain on problems that the base reaches within K draws.",
    "created": "The part of the gain on problems that the base does not reach within K draws.",
    "undecided": "The part of the gain on problems of which the base's draws do not say whether it reaches "
    "them.",
    "gross gain, gross loss": "Rises and falls of single problems summed apart; their difference is the gain.",
    "share": "A mass divided by the gain; it exists only where the gain's interval excludes 0.",
    "at chance": "The part of the gain on problems that the base solves no more often than luck does: never "
    "deployed, and created only where the success is surely mostly luck.",
    "coverage": "Where the band of tuned less base pass@k lies above or below 0, over all k that the draws "
    "allow: expanded, narrowed, crossing (above at some k, below at others), kept, or undecided.",
    "interval": "In brackets: 95 %, by a bootstrap over problems; it speaks of these problems, this "
    "training run and this base.",
    "null": "What the same number is when nothing happened; a value within its null's range says nothing.",
}
"""Words of the verdict."""

MEASURED: dict[str, str] = {
    "pass_at_k": "The chance that at least one of k draws succeeds, mean over problems.",
    "crossing": "The k at which base and tuned pass@k meet; infinite where they do not.",
    "coverage": "Share of problems solved within k draws, expected over which k draws.",
    "coverage_gained": "Share of problems that the tuned policy solves within k draws and the base does not.",
    "coverage_lost": "Share of problems that the base solves within k draws and the tuned policy does not.",
    "coverage_gained_excess": "Problems gained, less what a replicate of the base would gain.",
    "coverage_lost_excess": "Problems lost, less what a replicate of the base would lose.",
    "coverage_mcnemar": "Chance of a split of gained and lost problems at least this uneven if nothing "
    "changed.",
    "reach_logprob": "Log-probability of whole completions under the base; far below its own is out of reach.",
    "reach_below": "Share of completions less likely under the base than 95 % of its own of that length.",
    "reach_worst": "Surprisal of the token that the base likes least in a completion.",
    "reach_rank": "Tokens a completion that are not among the base's ten likeliest.",
    "reach_samples": "Draws that the base would need to say this very completion, at the median.",
    "reach_bound": "A certified floor under the base's success: its probability of the successes that were "
    "seen.",
    "token_kl": "How far the tuned next-token law lies from the base's, over the whole vocabulary.",
    "token_kl_reverse": "The same the other way round: what the tuned policy has given up.",
    "token_logratio": "How much the log-probability of the token that stands there changed.",
    "token_flip": "Share of tokens at which the two policies' likeliest next tokens differ.",
    "token_rank": "Rank of the token that stands there, for the policy that did not draw it (0 is first).",
    "token_unshifted": "Share of tokens that are the other policy's first choice too.",
    "token_marginal": "Share of tokens that are the other policy's second or third choice.",
    "token_shifted": "Share of tokens beyond the other policy's third choice.",
    "token_kl_top": "Share of all divergence held by the tokens that shifted most.",
    "token_kl_gini": "How unequally divergence is spread over tokens: 0 evenly, 1 all in one.",
    "token_first_flip": "How far into a completion both policies would have said the same, greedily.",
    "role_entropy": "Entropy of the next token at tokens of a role, less what the problem itself leaves open.",
    "role_entropy_change": "Tuned less base entropy on the same completions.",
    "role_probability": "Mean probability of the token that stands there.",
    "role_error": "Share of a role's tokens that the verifier calls wrong.",
    "role_training": "The curve's value at the start and at the end of training.",
    "role_half_step": "The step at which a curve had made half of its way: the order in which roles were "
    "learnt.",
    "update_zero": "Share of entries that training left exactly as they were (fp32 pairs only).",
    "update_within": "Share of entries that moved no further than a tolerance.",
    "update_visible": "Share of entries whose bf16 value changed; beside its null it tells of sizes, not "
    "places.",
    "update_rows": "Whether the update's energy sits in particular rows: Gini, 0 even, 1 in one.",
    "update_columns": "Whether the update's energy sits in particular columns.",
    "update_gini": "How unequally the absolute update is spread over entries.",
    "update_participation": "Effective share of entries that carry the update.",
    "update_share90": "Fewest entries that hold nine tenths of the update's energy.",
    "update_stable_rank": "Energy over that of the largest direction: how many directions matter at all.",
    "update_entropy_rank": "Directions weighed by their energy: how many are in use.",
    "update_stable_rank_share": "Stable rank as a share of the possible, mean over matrices.",
    "update_entropy_rank_share": "Entropy rank as a share of the possible, mean over matrices.",
    "update_norm": "Length of the update against the length of the base's weights.",
    "update_untouched_rows": "Rows of vocabulary matrices that never moved: tokens that training never saw.",
    "pass_at_k_difference": "Tuned less base pass@k: above 0 the tuned policy is ahead at that many draws.",
    "deployed_created": "A part of the gain, by whether the base reaches the problem within K draws.",
    "deployed_created_share": "That part, divided by the gain.",
    "created_share_at_k": "The created share if the budget were this k.",
    "routing_execution": "A part of the gain: from choosing other strategies, or from carrying them out "
    "better.",
    "routing_execution_share": "That part, divided by the gain.",
    "strategy_share": "Share of completions that follow an alternative, mean over problems.",
    "strategy_accuracy": "Success of the completions that follow an alternative.",
    "accuracy": "Success at one draw under strict, lenient and few-shot-format scoring.",
    "length_change": "Tuned less base length on the same problems.",
    "truncated": "Share of completions cut at the length limit.",
    "truncated_change": "Tuned less base share of completions cut at the limit.",
    "answer_entropy_change": "Tuned less base entropy of answers on the same problems.",
    "answer_entropy": "Entropy of the answers that one problem gets: how undecided the policy is between "
    "answers.",
    "length": "Tokens of a completion.",
}
"""Names of measurements."""

FAMILIES: tuple[tuple[str, str], ...] = (
    ("pass", "pass@k"),
    ("deployed", "Deployed and created"),
    ("created", "Deployed and created"),
    ("crossing", "Crossing"),
    ("coverage", "Coverage"),
    ("routing", "Routing and execution"),
    ("strategy", "Routing and execution"),
    ("accuracy", "Format against capability"),
    ("reach", "Reachability"),
    ("token", "Token shift"),
    ("role", "Entropy and errors by role"),
    ("update", "Weights"),
    ("answer", "Answer entropy"),
    ("length", "Length"),
    ("truncated", "Length"),
)
"""First word of a measurement's name -> the family it is listed under."""


def reading(name: str) -> str:
    """How to read a measurement: its sentence, or that of the measure it belongs to."""
    if name in MEASURED:
        return MEASURED[name]
    stem = name.split("_")[0]
    measure = MEASURES.get(name) or next((m for key, m in MEASURES.items() if key.startswith(stem)), None)
    return measure.summary if measure else ""


def family(name: str) -> str:
    """The family that a measurement is listed under."""
    stem = name.split("_")[0]
    return next((words for key, words in FAMILIES if key == stem), "Other")
