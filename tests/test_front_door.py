"""`import keyturn`: every kind of input, what comes back, what is refused; the same as the command finds."""

import gzip
import inspect
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas
import pyarrow
import pytest

import keyturn
from keyturn.cli.main import main
from keyturn.core import extras
from keyturn.core.errors import InputError, KeyturnError, MissingExtraError, UsageError
from keyturn.core.streams import Streams
from keyturn.front import audits, options
from keyturn.front.wording import reworded
from keyturn.rollouts.readers import read_samples

OFFERED = {"Columns", "KeyturnError", "audit", "elicit", "frontier", "judge", "load", "train"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b]0;owned\x07\u202e"


def drawn(rates, draws, seed):
    """Verdicts, bool ``[problem, draw]``."""
    return Streams(seed).generator("verdicts").random((len(rates), draws)) < np.asarray(rates)[:, None]


BASE = drawn([0.2] * 20 + [0.0] * 20, 96, 0)
CREATED = drawn([0.2] * 20 + [0.7] * 20, 32, 1)
DEPLOYED = drawn([0.9] * 20 + [0.0] * 20, 32, 2)


def records(verdicts, said="base", **more):
    """One record for each draw."""
    return [
        {"problem_id": f"p{p}", "prompt": f"q{p}", "completion": f"{said} {p} {d}", "is_correct": bool(right)}
        | {name: value(p) for name, value in more.items()}
        for p, row in enumerate(verdicts)
        for d, right in enumerate(row)
    ]


def counts(verdicts):
    return {f"p{p}": (int(row.sum()), len(row)) for p, row in enumerate(verdicts)}


def counted(verdicts):
    return [{"id": name, "c": c, "n": n} for name, (c, n) in counts(verdicts).items()]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def listed(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return tuple(
        written(folder / f"{name}.jsonl", records(verdicts, name))
        for name, verdicts in (("base", BASE), ("tuned", CREATED))
    )


@pytest.fixture(scope="module")
def found(files):
    return keyturn.audit(*files, k=16)


def same(one, other):
    """Whether two audits found the same, whatever their policies are called."""
    return [m.to_json() for m in one.measurements] == [m.to_json() for m in other.measurements] and (
        one.verdict.to_json() == other.verdict.to_json()
    )


@pytest.mark.slow
def test_importing_offers_everything_and_imports_nothing_heavy():
    code = (
        "import sys, keyturn; assert set(keyturn.__all__) <= set(dir(keyturn)), dir(keyturn); "
        "heavy = {'torch', 'transformers', 'scipy', 'numpy', 'pyarrow', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy; keyturn.audit, keyturn.load, keyturn.judge, keyturn.train; "
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_star_brings_the_front_door_and_no_more():
    names = {}
    exec("from keyturn import *", names)
    assert set(names) - {"__builtins__"} == OFFERED == set(keyturn.__all__)
    assert all(inspect.getdoc(names[name]) for name in OFFERED)
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        _ = keyturn.audits


def test_counts_without_a_model_give_a_verdict_in_memory():
    assert keyturn.judge(counts(BASE), counts(DEPLOYED), k=16).label == "deployed"
    verdict = keyturn.judge(counts(BASE), counts(CREATED), k=16)
    assert repr(verdict).startswith("Verdict(created at K = 16: ")
    assert len(repr(verdict)) < 400


def test_a_verdict_alone_is_the_verdict_of_the_audit(files, found):
    alone = keyturn.judge(*files, k=16)
    assert (alone.label, alone.masses) == (found.verdict.label, found.verdict.masses)
    answers = found.tables.paired.base, found.tables.paired.tuned
    assert keyturn.judge(*answers, k=16).masses == found.verdict.masses


@pytest.mark.parametrize(
    "made",
    [
        str,
        read_samples,
        listed,
        lambda path: pandas.read_json(path, lines=True),
        lambda path: pandas.read_json(path, lines=True).set_index("problem_id"),
        lambda path: pyarrow.Table.from_pylist(listed(path)),
    ],
    ids=["name", "Samples", "records", "frame", "indexed frame", "arrow"],
)
def test_samples_of_every_kind_give_what_their_file_gives(files, found, made):
    assert same(keyturn.audit(*map(made, files), k=16), found)


def test_a_compressed_file_is_known_by_its_content(tmp_path, files, found):
    packed = tmp_path / "base"
    packed.write_bytes(gzip.compress(files[0].read_bytes()))
    assert same(keyturn.audit(packed, files[1], k=16), found)


@pytest.mark.slow
def test_counts_and_verdicts_of_every_kind_agree_where_they_say_the_same():
    by_counts = keyturn.audit(counts(BASE), counts(CREATED), k=16)
    tables = map(pandas.DataFrame, map(counted, (BASE, CREATED)))
    assert same(keyturn.audit(*tables, k=16), by_counts)
    by_verdicts = keyturn.audit(BASE, CREATED, k=16)
    named = ({f"{p:06d}": row.tolist() for p, row in enumerate(v)} for v in (BASE, CREATED))
    assert same(keyturn.audit(*named, k=16), by_verdicts)
    # The order of the draws is known here and made up there, so intervals may differ; what was counted may not.
    tables = [audit.tables.paired.base.counts() for audit in (by_counts, by_verdicts)]
    assert np.array_equal(*tables)


def test_a_frame_says_what_is_missing_in_many_ways():
    rows = records(BASE)
    gaps = range(0, len(rows), 7)
    for place in gaps:
        rows[place]["is_correct"] = None
    plain = keyturn.audit(rows, records(CREATED, "tuned"), k=16)
    assert int(np.isnan(plain.tables.paired.base.outcome).sum()) == len(gaps)
    frame = pandas.DataFrame(rows)
    frame["is_correct"] = frame["is_correct"].astype("boolean")
    assert frame["is_correct"].isna().any()
    assert same(keyturn.audit(frame, records(CREATED, "tuned"), k=16), plain)
    floats = np.where(np.arange(BASE.size).reshape(BASE.shape) % 7 == 0, np.nan, BASE.astype(float))
    tables = [audit.tables.paired.base.counts() for audit in (keyturn.audit(floats, CREATED, k=16), plain)]
    assert np.array_equal(*tables)


def test_problems_in_memory_give_the_gold_answers():
    base = [
        {"id": f"p{p}", "prompt": f"q{p}", "completion": f"{draw} thoughts #### {p + draw % 2}"}
        for p in range(14)
        for draw in range(12)
    ]
    tuned = [{**row, "completion": f"sure {n} #### {row['id'][1:]}"} for n, row in enumerate(base)]
    asked = pandas.DataFrame([{"prompt": f"q{p}", "answer": f"#### {p}"} for p in range(14)])
    with pytest.raises(InputError, match=r"neither verdicts nor gold answers .*problems"):
        keyturn.audit(base, tuned, k=4)
    found = keyturn.audit(base, tuned, asked, k=4)
    assert [np.mean(table.outcome) for table in (found.tables.paired.base, found.tables.paired.tuned)] == [
        0.5,
        1.0,
    ]
    assert found.settings["base"]["grader"].startswith("gsm8k")


def test_the_result_is_what_the_command_finds(files, tmp_path, capsys):
    words = ("--samples", *map(str, files), "--k", "16", "--out", str(tmp_path / "cli"), "--json")
    assert main(["audit", *words]) == 0
    (document,) = json.loads(capsys.readouterr().out)["audits"]
    ours = keyturn.audit(*map(str, files), k=16, out=tmp_path / "api").to_json()
    assert ours.pop("run") == str((tmp_path / "api").resolve())
    assert document.pop("run") == str((tmp_path / "cli").resolve())
    assert ours == document


def test_nothing_is_printed_and_nothing_is_left_behind(files, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = keyturn.audit(*files, k=16)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert found.run.startswith("not kept")


def test_measurements_as_a_frame(found):
    frame = found.to_frame()
    first = "name value low high n unit null_kind null_value null_low null_high note"
    assert list(frame.columns[:11]) == first.split()
    assert len(frame) == len(found.measurements)
    assert {"part", "policy", "k"} <= set(frame.columns)
    gain = frame[(frame["name"] == "deployed_created") & (frame["part"] == "gain")].iloc[0]
    mass = found.verdict.masses["gain"]
    assert (gain["value"], gain["low"]) == (mass.value, mass.low)
    for row, one in zip(frame.to_dict("records"), found.measurements, strict=True):
        assert np.array_equal([row["value"], row["high"]], [one.value, one.high], equal_nan=True)
        assert all(row[key] == value or value is None for key, value in one.parameters.items())


def test_without_pandas_the_fix_is_named(found, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'keyturn\[pandas\]'"):
        found.to_frame()


def test_the_report_is_written_where_it_is_asked_for(files, found, tmp_path):
    path = found.report(tmp_path / "mine.html")
    page = path.read_text()
    assert path == tmp_path / "mine.html"
    assert "keyturn.audit(&#39;" in page
    assert "base.jsonl" in page
    assert "k=16)" in page
    assert found.report(tmp_path) == tmp_path / "report.html"
    with pytest.raises(UsageError, match=r"no run directory .*report\('report.html'\)"):
        found.report()
    kept = keyturn.audit(*files, k=16, out=tmp_path / "run")
    assert kept.report() == (tmp_path / "run" / "report.html").resolve()


def test_the_short_form_is_one_line(found):
    assert repr(found).startswith("Audit(samples: created at K = 16; gain +0.")
    assert "40 problems" in repr(found)
    assert "\n" not in repr(found)
    assert len(repr(found)) < 200


def test_a_call_in_the_report_shows_objects_as_their_types():
    given = {"base": "a", "tuned": (1.5, {}), "problems": None, "k": 8}
    assert audits.called("f", audits.audit, given) == "f('a', (<float>, <dict>), k=8)"
    assert audits.called("f", audits.audit, {"base": "a", "problems": "p"}) == "f('a', problems='p')"


def test_hostile_names_and_cells_are_inert_in_a_notebook(tmp_path):
    def subject(p):
        return HOSTILE if p % 2 else "plain"

    file = written(tmp_path / "x<b onclick=alert(3)>.jsonl", records(BASE, subject=subject))
    found = keyturn.audit(str(file), records(CREATED, "tuned", subject=subject), k=16)
    assert any(HOSTILE in cell.name for cell in found.cells)
    page = found._repr_html_()
    for act in ("<script", "<img", "<b ", "\x1b", "\u202e"):
        assert act not in page
        assert act not in repr(found)
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert page.count("<div") == page.count("</div>")


def test_a_notebook_is_told_the_verdict_its_cells_and_what_was_left_out(found):
    page = found._repr_html_()
    assert "created" in page
    assert "base.jsonl" in page
    assert "Left out" in page
    assert "40 problems" in page


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: keyturn.audit("nowhere.jsonl", f[1]), r"nowhere.jsonl does not exist \(fix: name a file"),
        (lambda f: keyturn.audit("gaph", "chain"), r"no model 'gaph' \(fix: did you mean graph"),
        (lambda f: keyturn.audit("chain", f[1]), "one side is samples and the other a policy"),
        (lambda f: keyturn.audit(f[0]), r"samples of the tuned policy are missing \(fix: tuned="),
        (lambda f: keyturn.audit(3, f[1]), r"base is of type int \(fix: a name"),
        (lambda f: keyturn.audit(f[0], f[1], limit=3), r"limit would do nothing.*\(fix: leave it out"),
        (lambda f: keyturn.audit(f[0], f[1], temperature=0.5), "temperature would do nothing"),
        (lambda f: keyturn.audit(f[0], f[1], columns=keyturn.Columns(success="nope")), "nope"),
        (lambda f: keyturn.audit(f[0], f[1], grader="gms8k"), r"grader 'gms8k' \(fix: did you mean gsm8k"),
        (lambda f: keyturn.audit(f[0], f[1], k=1), "k must be at least 2"),
        (lambda f: keyturn.audit(f[0], f[0]), "was given as base and as tuned"),
        (lambda f: keyturn.audit(counts(BASE), {"p0": (3, 2)}), "right draws"),
        (lambda f: keyturn.audit(counts(BASE), {"p0": (1, 2, 3)}), r"neither counts nor verdicts \(fix: \{"),
        (lambda f: keyturn.audit(BASE, BASE[:, :, None]), "array of bool, 40 x 96 x 1"),
        (lambda f: keyturn.audit(BASE.astype(int), CREATED), "96 whole numbers per problem"),
        (lambda f: keyturn.audit(BASE * 2.0, CREATED), "verdicts other than 0 and 1"),
        (lambda f: keyturn.audit([], CREATED), "base holds no records"),
        (lambda f: keyturn.audit(BASE, BASE), "one table was given as base and as tuned"),
        (lambda f: keyturn.audit(pandas.DataFrame([[1, 2]], columns=["a", "a"]), BASE), "two columns 'a'"),
        (lambda f: keyturn.audit("chain", "graph", 7), "problems are of type int"),
        (lambda f: keyturn.audit("chain", "graph", {"q": "a"}), "problems are of type dict"),
        (lambda f: keyturn.audit("chain", "graph", template="chatty"), "unknown template 'chatty'"),
        (lambda f: keyturn.judge(BASE, CREATED, k=0), r"k is 0 \(fix: at least 2"),
        (lambda f: keyturn.load("owner"), "no model 'owner'"),
        (lambda f: keyturn.load("graph", dtype="fp8"), "unknown dtype"),
    ],
)
def test_what_cannot_be_audited_is_one_line_with_a_fix(files, capsys, call, said):
    with pytest.raises(KeyturnError, match=said) as caught:
        call(files)
    assert "\n" not in str(caught.value)
    assert caught.value.fix
    assert "--" not in str(caught.value), "an option of the command line"
    assert capsys.readouterr().out == ""


def test_a_fix_in_python_works_when_followed():
    odd = {"problem_id": "task", "completion": "told", "is_correct": "judged"}
    tables = [
        [{odd.get(name, name): value for name, value in row.items()} for row in records(verdicts, said)]
        for verdicts, said in ((BASE, "base"), (CREATED, "tuned"))
    ]
    columns = keyturn.Columns(problem="task", completion="told")
    with pytest.raises(KeyturnError, match=r"columns=Columns\(success=...\)"):
        keyturn.audit(*tables, k=16, columns=columns)
    columns = replace(columns, success="judged")
    assert keyturn.audit(*tables, k=16, columns=columns).verdict.label == "created"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--problems FILE", "problems=FILE"),
        ("--per-cell would do nothing", "per_cell would do nothing"),
        ("leave --grader out", "leave grader out"),
        ("--template plain", "template='plain'"),
        ("see --columns.problem", "see columns=Columns(problem=...)"),
        ("share: --columns.problem task,id", "share: columns=Columns(problem='task,id')"),
        ("--columns.success or --grader; x", "columns=Columns(success=...) or grader; x"),
        ("a grader (--grader)", "a grader (grader)"),
        ("--draws-independent counts every draw", "draws_independent=True counts every draw"),
        ("--draws-independent would do nothing", "draws_independent would do nothing"),
        ("inspect log convert --to json", "inspect log convert --to json"),
    ],
)
def test_options_become_arguments(text, said):
    defaults = {name: one.default for name, one in inspect.signature(audits.audit).parameters.items()}
    assert reworded(text, defaults) == said


def test_every_argument_is_known_to_the_table_of_ways_or_read_by_all():
    arguments = set(inspect.signature(audits.audit).parameters)
    assert set(options._READ_BY) - arguments == {"worlds", "workers"}
