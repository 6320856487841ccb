"""Claims, evidence and verdicts: published claims with studies that test them, judged by your own runs."""

from keyturn.atlas.claims import (
    abstractions_beat_more_draws,
    atoms_known_composition_absent,
    clipping_moves_to_the_habit,
    critiques_beat_solutions,
    dapo_keeps_entropy,
    degrpo_learns_when_to_think,
    dr_grpo_shortens_wrong_answers,
    emergent_traces_were_there,
    few_demos_need_competence,
    few_parameters_suffice_for_rl,
    few_tokens_carry_the_gradient,
    form_carries_distillation,
    hicra_beats_grpo,
    imitate_beside_rl,
    moving_reference_sustains_rl,
    negative_evidence_is_enough,
    one_example_nearly_suffices,
    order_by_transfer_beats_joint,
    passk_objective_keeps_coverage,
    rationales_improve_themselves,
    reasoning_beats_next_token,
    rl_amplifies_one_format,
    rl_composes_rft_does_not,
    rl_deploys,
    rl_narrows,
    rl_needs_the_edge,
    rl_updates_are_sparse,
    search_traces_teach_search,
    sequence_ratios_are_steadier,
    small_models_lose_their_traces,
    steps_unlock_hard_problems,
)
from keyturn.atlas.contract import Claim
from keyturn.core.errors import unknown

CLAIMS: dict[str, Claim] = {
    abstractions_beat_more_draws.CLAIM.id: abstractions_beat_more_draws.CLAIM,
    rl_narrows.CLAIM.id: rl_narrows.CLAIM,
    rl_deploys.CLAIM.id: rl_deploys.CLAIM,
    atoms_known_composition_absent.CLAIM.id: atoms_known_composition_absent.CLAIM,
    dapo_keeps_entropy.CLAIM.id: dapo_keeps_entropy.CLAIM,
    degrpo_learns_when_to_think.CLAIM.id: degrpo_learns_when_to_think.CLAIM,
    dr_grpo_shortens_wrong_answers.CLAIM.id: dr_grpo_shortens_wrong_answers.CLAIM,
    few_parameters_suffice_for_rl.CLAIM.id: few_parameters_suffice_for_rl.CLAIM,
    few_tokens_carry_the_gradient.CLAIM.id: few_tokens_carry_the_gradient.CLAIM,
    hicra_beats_grpo.CLAIM.id: hicra_beats_grpo.CLAIM,
    negative_evidence_is_enough.CLAIM.id: negative_evidence_is_enough.CLAIM,
    order_by_transfer_beats_joint.CLAIM.id: order_by_transfer_beats_joint.CLAIM,
    passk_objective_keeps_coverage.CLAIM.id: passk_objective_keeps_coverage.CLAIM,
    emergent_traces_were_there.CLAIM.id: emergent_traces_were_there.CLAIM,
    rl_amplifies_one_format.CLAIM.id: rl_amplifies_one_format.CLAIM,
    rl_needs_the_edge.CLAIM.id: rl_needs_the_edge.CLAIM,
    clipping_moves_to_the_habit.CLAIM.id: clipping_moves_to_the_habit.CLAIM,
    rl_composes_rft_does_not.CLAIM.id: rl_composes_rft_does_not.CLAIM,
    sequence_ratios_are_steadier.CLAIM.id: sequence_ratios_are_steadier.CLAIM,
    form_carries_distillation.CLAIM.id: form_carries_distillation.CLAIM,
    small_models_lose_their_traces.CLAIM.id: small_models_lose_their_traces.CLAIM,
    steps_unlock_hard_problems.CLAIM.id: steps_unlock_hard_problems.CLAIM,
    rl_updates_are_sparse.CLAIM.id: rl_updates_are_sparse.CLAIM,
    search_traces_teach_search.CLAIM.id: search_traces_teach_search.CLAIM,
    few_demos_need_competence.CLAIM.id: few_demos_need_competence.CLAIM,
    rationales_improve_themselves.CLAIM.id: rationales_improve_themselves.CLAIM,
    reasoning_beats_next_token.CLAIM.id: reasoning_beats_next_token.CLAIM,
    imitate_beside_rl.CLAIM.id: imitate_beside_rl.CLAIM,
    critiques_beat_solutions.CLAIM.id: critiques_beat_solutions.CLAIM,
    moving_reference_sustains_rl.CLAIM.id: moving_reference_sustains_rl.CLAIM,
    one_example_nearly_suffices.CLAIM.id: one_example_nearly_suffices.CLAIM,
}
"""Id -> claim."""


def claim_named(name: str) -> Claim:
    """The claim of this id; the error for an unknown one names near matches."""
    if name not in CLAIMS:
        raise unknown("claim", name, CLAIMS)
    return CLAIMS[name]
