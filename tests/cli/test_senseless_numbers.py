"""Numbers that count nothing are refused before any work; a length that is out of reach costs nothing."""

import numpy as np
import pytest

from keyturn.auditing.embedded import MODELS
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.loading import load_policy
from keyturn.policies.protocol import Limits

CHAIN = str(MODELS / "chain")


@pytest.fixture(autouse=True)
def _here(_own_home, tmp_path):
    (tmp_path / "p.jsonl").write_text(
        '{"prompt": "1 + 1 ?", "answer": "2"}\n{"prompt": "1 + 2 ?", "answer": "3"}\n'
    )


@pytest.mark.parametrize(
    "words",
    [
        f"audit {CHAIN} {CHAIN} --problems p.jsonl --limit -1",
        f"audit {CHAIN} {CHAIN} --problems p.jsonl --max-new-tokens -5",
        f"audit {CHAIN} {CHAIN} --per-cell 0",
        f"audit {CHAIN} {CHAIN} --per-cell -3",
        "audit --workers -2",
        "audit --k 0",
        "audit --n-base -1",
        "audit --k 100000000",
        "audit --n-base 1000000000",
        f"audit {CHAIN} {CHAIN} --temperature nan",
        f"audit {CHAIN} {CHAIN} --temperature -1",
        f"audit {CHAIN} {CHAIN} --top-p 0",
        "claim run rl-narrows --workers -3",
        "world show chain --n 0",
        "world show chain --n -1",
        "world show chain --depth 0",
        "world show chain --depth -2",
        "world pretrain chain --steps 0",
        "world pretrain chain --steps -1",
        "world pretrain chain --threads 0",
        "train grpo chain --per-cell -1",
        "train grpo chain --rl.steps 0",
        "train grpo chain --rl.lr nan",
        "train grpo chain --rl.checkpoint-every 0",
        "train grpo chain --max-new-tokens -1",
        "train sft chain --fit.steps 0",
        "train sft chain --fit.steps -5",
        "train sft chain --fit.lr nan",
        "train sft chain --fit.lr -1",
    ],
)
def test_it_is_usage_and_nothing_is_left_behind(call, tmp_path, words):
    code, _, said = call(*words.split())
    assert code == 2
    assert "fix: " in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob("model.safetensors"))


def test_an_answer_may_be_longer_than_the_context_without_room_for_all_of_it():
    policy = load_policy(MODELS / "chain")
    policy.model.config.max_position_embeddings = 40
    asked = [Problem(id="a", prompt="BOS CH f 3 ?")]
    near, far = (policy.draw(asked, range(4), Streams(1), Limits(max_new_tokens=n)) for n in (40, 10**8))
    assert np.array_equal(near.tokens, far.tokens)
    assert far.texts == near.texts
