"""A finished stage that is damaged is made again, by itself and with one line; what others tell to do works."""

import errno
import json
import logging
import shutil

import numpy as np
import pytest
from probes import config, probe, starts_with_a, tiny_policy, train

from keyturn.core.errors import NewerError, StorageError
from keyturn.core.rundir import DONE, is_done, mark_done
from keyturn.core.streams import Streams
from keyturn.lab import lab as lab_module
from keyturn.lab.fit_rows import supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.objectives.grpo import grpo
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits
from keyturn.rewards.outcome import outcome
from keyturn.rollouts.store import read_completions

PROBLEMS = probe(starts_with_a, prompts=("ask", "tell", "ask a", "tell b"))
LIMITS = Limits(max_new_tokens=4)


def lab_in(folder):
    return Lab(folder, Streams(5))


def warned(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def _put(path, data):
    """Another file of the name: a model that is loaded may still look at the old one."""
    path.unlink()
    path.write_bytes(data)


def _truncate(path):
    _put(path, path.read_bytes()[:-7])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    _put(path, bytes(data))


def _empty(path):
    _put(path, b"")


def _remove(path):
    path.unlink()


def _text(path):
    _put(path, b"not found")


def _folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [_truncate, _flip, _empty, _remove, _text]


def arrays(lab):
    made = {"x": np.arange(600.0), "y": np.array([True, False])}
    calls = []

    def compute():
        calls.append(1)
        return made

    stage, found = lab.arrays("made", {"a": 1}, compute)
    assert found.keys() == made.keys()
    assert all(np.array_equal(found[name], made[name]) for name in made)
    return stage, len(calls)


@pytest.mark.parametrize("damage", [*DAMAGES, _folder])
def test_damaged_arrays_are_made_again_with_one_line(tmp_path, caplog, damage):
    stage, calls = arrays(lab_in(tmp_path))
    assert (calls, arrays(lab_in(tmp_path))[1]) == (1, 0)
    damage(stage.folder / "arrays.npz")
    caplog.clear()
    assert arrays(lab_in(tmp_path))[1] == 1
    assert arrays(lab_in(tmp_path))[1] == 0
    [line] = warned(caplog)
    assert "damaged and is made again" in line
    assert "arrays.npz" in line


def draw(lab):
    policy = tiny_policy()
    stage, drawn = lab.draw(policy, PROBLEMS.problems, range(3), LIMITS, name="draw")
    graded, grades = lab.grade(PROBLEMS.grader, PROBLEMS.problems, drawn, stage, name="grade")
    return stage, drawn, graded, grades


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", ["completions-00001.parquet", "completions-00001.prompts.parquet"])
def test_one_damaged_part_of_draws_is_drawn_again_and_no_other(tmp_path, caplog, monkeypatch, damage, which):
    monkeypatch.setattr(lab_module, "rows_a_part", lambda *_: 3)
    stage, drawn, *_ = draw(lab_in(tmp_path))
    parts = sorted(stage.folder.glob("completions-*.parquet"))
    assert len(parts) == 8
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in parts}
    damage(stage.folder / which)
    _, again, _, grades = draw(lab_in(tmp_path))
    assert again.texts == drawn.texts
    assert len(grades.outcome) == len(again)
    assert {path: path.read_bytes() for path in parts} == {path: data for path, (data, _) in before.items()}
    touched = {path.name.split(".")[0] for path, (_, node) in before.items() if path.stat().st_ino != node}
    assert touched == {"completions-00001"}
    lines = warned(caplog)
    assert len(lines) == 2  # the stage, and the part
    assert all("damaged" in line for line in lines)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_grades_are_graded_again(tmp_path, caplog, damage):
    *_, graded, grades = draw(lab_in(tmp_path))
    damage(graded.folder / "grades-00000.parquet")
    *_, again = draw(lab_in(tmp_path))
    assert np.array_equal(again.outcome, grades.outcome)
    assert len(warned(caplog)) == 1


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["time.json", "stage.json"])
def test_what_no_result_depends_on_costs_nothing(tmp_path, caplog, damage, name):
    stage, _ = arrays(lab_in(tmp_path))
    damage(stage.folder / name)
    assert arrays(lab_in(tmp_path))[1] == 0
    assert warned(caplog) == []


def test_following_the_advice_of_the_error_works(tmp_path):
    stage, *_ = draw(lab_in(tmp_path))
    _truncate(stage.folder / "completions-00000.parquet")
    with pytest.raises(StorageError) as caught:
        read_completions(stage.folder)
    assert str(stage.folder) in caught.value.fix
    shutil.rmtree(stage.folder)
    draw(lab_in(tmp_path))
    assert len(read_completions(stage.folder)) == 12


def test_what_a_newer_keyturn_wrote_is_no_damage(tmp_path):
    stage, *_ = draw(lab_in(tmp_path))
    import pyarrow.parquet as pq

    path = stage.folder / "completions-00000.parquet"
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"keyturn"]) | {"schema": 99}
    pq.write_table(table.replace_schema_metadata({b"keyturn": json.dumps(meta).encode()}), path)
    mark_done(stage.folder)
    before = path.read_bytes()
    with pytest.raises(NewerError, match="upgrade"):
        draw(lab_in(tmp_path))
    assert path.read_bytes() == before
    assert is_done(stage.folder)


def test_what_working_on_does_not_mend_is_set_aside_and_made_from_the_beginning(tmp_path, caplog):
    """A stage whose work goes on from what it finds, which is itself damaged."""

    def work(folder):
        if not (folder / "state").exists():
            (folder / "state").write_text("good")

    def read(folder):
        if (folder / "state").read_text() != "good":
            raise StorageError("state is damaged")
        return "read"

    stage, found = lab_in(tmp_path).stage("kind", {}, work, read)
    assert found == "read"
    (stage.folder / "state").write_text("bad")
    (stage.folder / DONE).write_bytes(b"")  # as earlier versions wrote it, without saying what was finished
    again, found = lab_in(tmp_path).stage("kind", {}, work, read)
    assert (again, found) == (stage, "read")
    assert len(warned(caplog)) == 2
    [aside] = (tmp_path / "damaged").iterdir()
    assert (aside / "state").read_text() == "bad"
    # Twin: where it was said what was finished, the damaged file alone is set aside.
    (stage.folder / "state").write_text("bad")
    lab_in(tmp_path).stage("kind", {}, work, read)
    assert (stage.folder / "state").read_text() == "good"
    assert len(list((tmp_path / "damaged").iterdir())) == 2


def test_an_error_of_a_stage_that_was_just_made_is_the_error(tmp_path):
    def read(folder):
        raise StorageError("never readable")

    with pytest.raises(StorageError, match="never readable"):
        lab_in(tmp_path).stage("kind", {}, lambda folder: None, read)
    # Twin: once it is found finished, it is tried twice more and then told.
    with pytest.raises(StorageError, match="never readable"):
        lab_in(tmp_path).stage("kind", {}, lambda folder: None, read)


def task():
    return Task(
        base=tiny_policy(), folder="tiny", train=PROBLEMS, validation=PROBLEMS, test=PROBLEMS, max_new_tokens=4
    )


def rl(lab):
    settings = config(steps=6, draws=4, checkpoint_every=2)
    base = Model("tiny", tiny_policy())
    return Session(lab, task()).rl(base, objective=grpo(), reward=outcome(), config=settings)


def sft(lab):
    base = Model("tiny", tiny_policy())
    rows = supervised(base.policy, [(problem, "a b") for problem in PROBLEMS.problems])
    return Session(lab, task()).fit(base, rows, FitConfig(steps=3))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("made", [rl, sft])
def test_a_damaged_model_is_trained_again_to_the_same_bytes(tmp_path, caplog, made, file, damage):
    first = made(lab_in(tmp_path))
    weights = (first.path / "model.safetensors").read_bytes()
    if not (first.path / file).exists():
        pytest.skip("this tokenizer has another file")
    damage(first.path / file)
    again = made(lab_in(tmp_path))
    assert again.policy.fingerprint == first.policy.fingerprint
    assert (again.path / "model.safetensors").read_bytes() == weights
    assert any("damaged" in line for line in warned(caplog))
    if made is rl:
        # It went on from the last checkpoint: the steps before it were not taken again.
        assert [row["step"] for row in again.history] == list(range(6))
        assert not any("set aside" in line for line in warned(caplog))


# A run outside a lab: `keyturn train OBJECTIVE`.

RUN = config(steps=6, draws=4, checkpoint_every=2, keep_checkpoints=2)


def files(folder):
    return {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "model/model.safetensors")}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["model/model.safetensors", "model/manifest.json", "metrics.jsonl"])
def test_a_finished_run_that_is_damaged_ends_anew(tmp_path, caplog, file, damage):
    train(tmp_path, PROBLEMS, RUN)
    straight = files(tmp_path)
    damage(tmp_path / file)
    train(tmp_path, PROBLEMS, RUN)
    if file == "model/manifest.json" and damage is _remove:
        return  # a folder without a manifest is somebody else's model: nothing says that it was changed
    assert files(tmp_path) == straight
    assert "ends anew from its last checkpoint" in caplog.text


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty, _remove, _text])
def test_metrics_damaged_before_a_checkpoint_send_the_run_back_and_never_end_it(tmp_path, caplog, damage):
    train(tmp_path / "straight", PROBLEMS, RUN)
    train(tmp_path / "run", PROBLEMS, RUN, stop_after=5)
    damage(tmp_path / "run" / "metrics.jsonl")
    train(tmp_path / "run", PROBLEMS, RUN)
    assert files(tmp_path / "run") == files(tmp_path / "straight")
    assert "skipped checkpoint" in caplog.text


def test_a_disk_that_is_full_while_a_damaged_stage_is_made_again_sets_nothing_aside(tmp_path, monkeypatch):
    stage, _ = arrays(lab_in(tmp_path))
    _truncate(stage.folder / "arrays.npz")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("keyturn.core.rundir.os.fsync", full)
        with pytest.raises(StorageError, match="disk full"):
            arrays(lab_in(tmp_path))
    assert (stage.folder / "stage.json").exists()
    assert arrays(lab_in(tmp_path))[1] == 1
