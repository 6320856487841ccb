"""The page of faults names tests that exist; and the faults that have no other place are provoked here."""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
SOURCES = sorted((ROOT / "src" / "keyturn").rglob("*.py"))

LISTENS = {"http.server", "socketserver", "wsgiref", "aiohttp", "flask", "uvicorn", "asyncio"}
READS_WHAT_CAN_RUN = {"yaml", "ruamel", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
UNPACKS = {"extract", "extractall", "unpack_archive"}
RUNS = {"eval", "exec"}


def rows():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if re.match(r"\| *\d+ \|", line)
    ]


def functions(path):
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_fault_has_a_line_of_its_own():
    assert [int(row[0]) for row in rows()] == list(range(1, 71))
    assert {len(row) for row in rows()} == {4}


def test_every_test_that_is_named_exists():
    for number, _, _, shown in rows():
        named = re.findall(r"`([^`]+)::(\w+)`", shown)
        assert named, number
        for file, name in named:
            path = ROOT / "tests" / file
            assert path.is_file(), (number, file)
            assert name in functions(path), (number, file, name)


def test_a_name_that_does_not_exist_would_be_found():
    assert "test_no_such_thing" not in functions(Path(__file__))
    assert "test_every_fault_has_a_line_of_its_own" in functions(Path(__file__))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree):
    """Names of functions that are called: bare ones as they are, methods with a dot before them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield "." + node.func.attr


def dangers(text):
    tree = ast.parse(text)
    modules = {part for name in imported(tree) for part in (name, name.split(".")[0])}
    names = set(called(tree))
    found = modules & (LISTENS | READS_WHAT_CAN_RUN)
    found |= names & (RUNS | {".load_module"}) | names & {f".{name}" for name in UNPACKS} | names & UNPACKS
    pickles = {"pickle.loads", "pickle.load", "pickle.Unpickler"}
    return found | ({ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)} & pickles)


KNOWN = {
    "core/loopback.py": {"http.server"},
    "atlas/collection/front_matter.py": {"yaml"},
    "atlas/exports/vault.py": {"yaml"},
}
"""One file listens, on this machine only, for the site and for a served policy. One reads YAML as events, and
one writes it."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src" / "keyturn")))
def test_nothing_else_listens_unpacks_or_reads_what_can_run(path):
    known = KNOWN.get(path.relative_to(ROOT / "src" / "keyturn").as_posix(), set())
    assert dangers(path.read_text(encoding="utf-8")) == known


def test_yaml_is_read_as_events_only():
    called_of = {}
    for name in ("collection/front_matter.py", "exports/vault.py"):
        tree = ast.parse((ROOT / "src/keyturn/atlas" / name).read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        called_of[name] = {call for call in calls if call.startswith("yaml.")}
    assert called_of == {"collection/front_matter.py": {"yaml.parse"}, "exports/vault.py": {"yaml.safe_dump"}}


@pytest.mark.parametrize(
    "text",
    [
        "import http.server",
        "from http import server\nfrom http.server import HTTPServer",
        "import yaml",
        "import zipfile\nzipfile.ZipFile('x').extractall()",
        "import shutil\nshutil.unpack_archive('x')",
        "import pickle\npickle.loads(b'')",
        "eval('1')",
    ],
)
def test_the_look_at_the_sources_would_notice(text):
    assert dangers(text)


def test_no_csv_is_written():
    """What writes one must keep a spreadsheet from taking a cell for a formula."""
    for path in SOURCES:
        assert not re.search(r"csv\.writer|DictWriter|to_csv|write_csv", path.read_text(encoding="utf-8")), path


def test_names_that_become_files_differ_without_regard_to_case():
    from keyturn.atlas import CLAIMS
    from keyturn.experiments import EXPERIMENTS
    from keyturn.measures import MEASURES
    from keyturn.methods import METHODS
    from keyturn.objectives import OBJECTIVES
    from keyturn.rewards import REWARDS

    reserved = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))}
    for names in (CLAIMS, MEASURES, OBJECTIVES, REWARDS, METHODS, EXPERIMENTS):
        assert len({name.casefold() for name in names}) == len(names)
        for name in names:
            assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name), name
            assert name not in reserved


def test_claims_have_ids_of_their_own_and_relations_that_lead_somewhere():
    from keyturn.atlas import CLAIMS

    for name, claim in CLAIMS.items():
        assert claim.id == name
        assert set(claim.relations) <= set(CLAIMS) - {name}
    for name in CLAIMS:
        seen, ahead = set(), [name]
        while ahead:
            for other, (relation, why) in CLAIMS[ahead.pop()].relations.items():
                assert why
                if relation == "supersedes" and other not in seen:
                    seen.add(other)
                    ahead.append(other)
        assert name not in seen


def test_a_record_holds_named_facts_of_the_environment_and_no_others(monkeypatch):
    from keyturn.atlas import CLAIMS
    from keyturn.atlas.evidence import record
    from keyturn.experiments.contract import Outcome, Subject

    monkeypatch.setenv("MY_SECRET", "hunter2")
    claim = next(iter(CLAIMS.values()))
    outcome = Outcome(base="b", base_name="b", numbers={}, n=1, run="runs/x")
    made = record(claim, Subject(base="b", seed=0), outcome)
    assert set(made.environment) == {"keyturn", "python", "torch", "machine"}
    assert "hunter2" not in str(made.content())


@pytest.mark.parametrize("seed", [0, -1, 2**32, 2**64 + 1, -(2**70)])
def test_any_whole_number_is_a_seed(seed):
    from keyturn.core.streams import Streams

    ours = Streams(seed).generator("x").random(4).tolist()
    assert ours == Streams(seed).generator("x").random(4).tolist()
    for other in (1, seed + 1, seed - 1, abs(seed) + 2):
        assert ours != Streams(other).generator("x").random(4).tolist()


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path):
    import torch

    from keyturn.training.checkpoint import Snapshot, newest_checkpoint, write_checkpoint

    for step in (1, 2, 3):
        path = write_checkpoint(
            tmp_path, Snapshot(step=step, tensors={"w": {"a": torch.zeros(1)}}, facts={}), keep=3
        )
        for file in (*path.iterdir(), path):
            os.utime(file, (1e9 - step * 1e6, 1e9 - step * 1e6))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 3


@pytest.mark.parametrize("way", ["relative", "home", "link", "with a slash"])
def test_a_model_is_found_however_its_folder_is_named(tmp_path, monkeypatch, way):
    from keyturn.auditing.embedded import MODELS
    from keyturn.policies.loading import find_folder

    folder = tmp_path / "model"
    folder.symlink_to(MODELS / "chain", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = {"relative": "./model", "home": "~/model", "link": str(folder), "with a slash": f"{folder}/"}[way]
    assert (find_folder(name) / "config.json").resolve() == (MODELS / "chain" / "config.json").resolve()
