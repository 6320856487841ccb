"""Our own list of phrases that announce the next move of reasoning, in five categories.

The paper on strategic grams prints a list that its own pipeline cannot have made (it contains single words). So
there are two sources of planning tokens: mining, and a list. Ours is in ``assets/lexicon.json``; it needs no
text for mining and is the same for every model.

Roles: all five categories decide the next step, so by default all are in the PLANNING set, as in the paper:
deduction and verification are a next step (PLAN), branching chooses a way (STRATEGY), framing states what is
needed (GOAL), backtracking retracts (BACKTRACK). The grammar's VERIFY is the check itself and not a planning
role. ``lexicon({**ROLE_OF, "verification": Role.VERIFY})`` gives announced checks that role, outside the
PLANNING set. Known bias: English, and the style of models that think aloud; phrases match anywhere in a clause.
Source: the five categories describe the mixture in the list of Wang et al. 2025 (2509.03646). The entries are
ours.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files

from keyturn.core.errors import unknown
from keyturn.core.roles import Role
from keyturn.roles.grams import Gram, StrategicGrams, checked
from keyturn.roles.words import phrase

ROLE_OF: dict[str, Role] = {
    "deduction": Role.PLAN,
    "branching": Role.STRATEGY,
    "backtracking": Role.BACKTRACK,
    "verification": Role.PLAN,
    "framing": Role.GOAL,
}
"""Category -> the role of its tokens; all of them are planning roles."""


def lexicon(roles: Mapping[str, Role] = ROLE_OF) -> StrategicGrams:
    """The lexicon as a set of grams; each entry's ``kind`` is its category.

    Args:
        roles: category -> role; a category that is left out is left out of the set.
    """
    for name in roles:
        if name not in ROLE_OF:
            raise unknown("category of the lexicon", name, ROLE_OF)
    entries = tuple(
        Gram(text=" ".join(phrase(text)), role=roles[category], kind=category)
        for category, texts in _categories().items()
        if category in roles
        for text in texts
    )
    settings = {category: role.name.lower() for category, role in roles.items()}
    return checked(StrategicGrams(entries=entries, source="keyturn's lexicon", settings=settings))


@functools.cache
def _categories() -> dict[str, tuple[str, ...]]:
    document = json.loads((files("keyturn.assets") / "lexicon.json").read_text(encoding="utf-8"))
    return {name: tuple(texts) for name, texts in document["categories"].items()}
