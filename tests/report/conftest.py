"""Two made-up audits for a session: one whose gain was deployed, one whose gain was created."""

import pytest
from made_up_audit import audit_of


@pytest.fixture(scope="session")
def audits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return (
        audit_of("graph", folder, created=False),
        audit_of("chain", folder, created=True, seed=1),
    )
