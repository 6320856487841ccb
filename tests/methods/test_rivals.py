"""What a table compares with is named by the method and trained by it before: no table trains."""

from dataclasses import replace

import pytest
from made_task import shipped_task

from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods import METHODS

WITH_RIVALS = {"small-sets": "graph", "precision": "graph", "rpt": "chain"}


def test_these_have_rivals():
    found = {name for name, method in METHODS.items() if method.rivals(method.profiles["demo"])}
    assert found == set(WITH_RIVALS)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_RIVALS)
def test_the_table_is_given_every_policy_and_trains_none(tmp_path, name):
    method = METHODS[name]
    session = Session(Lab(tmp_path, Streams(0)), shipped_task(WITH_RIVALS[name]))
    config, given = method.brief(method.profiles["demo"]), {}

    def trainings():
        return {stage.name for kind in ("rl", "fit", "sft") for stage in tmp_path.glob(f"stages/{kind}-*")}

    def table(session, config, policies):
        given.update(policies)
        before = trainings()
        rows = method.table(session, config, policies)
        assert trainings() == before != set(), "the table trains"
        return rows

    made = replace(method, table=table).run(session, config)
    assert set(given) == {"policy", *method.rivals(config)}
    assert set(made.policies) == {"policy"}, "rivals are no product"
    assert len({model.path for model in given.values()}) > 1
    assert made.rows
