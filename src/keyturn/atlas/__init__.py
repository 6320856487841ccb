"""Claims, evidence and verdicts: every published claim an experiment, its evidence your own runs."""

from keyturn.atlas.claims import (
    atoms_known_composition_absent,
    hicra_beats_grpo,
    rl_composes_rft_does_not,
    rl_deploys,
    rl_narrows,
)
from keyturn.atlas.contract import Claim
from keyturn.core.errors import unknown

CLAIMS: dict[str, Claim] = {
    rl_narrows.CLAIM.id: rl_narrows.CLAIM,
    rl_deploys.CLAIM.id: rl_deploys.CLAIM,
    atoms_known_composition_absent.CLAIM.id: atoms_known_composition_absent.CLAIM,
    hicra_beats_grpo.CLAIM.id: hicra_beats_grpo.CLAIM,
    rl_composes_rft_does_not.CLAIM.id: rl_composes_rft_does_not.CLAIM,
}
"""Id -> claim."""


def claim_named(name: str) -> Claim:
    """A claim by id; an unknown one is answered with the near matches."""
    if name not in CLAIMS:
        raise unknown("claim", name, CLAIMS)
    return CLAIMS[name]
