"""Signatures of bundles: known, unknown, wrong, none, and a name that keeps its key."""

import dataclasses
import json
import shutil
import subprocess

import pytest

from keyturn.atlas import signatures
from keyturn.atlas.store import append, home, shipped_runs

NAME = "one-example-nearly-suffices"
pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH signs")


def key(tmp_path, name):
    path = tmp_path / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


@pytest.fixture
def signed(call, tmp_path, monkeypatch):
    """A bundle of ada's with her signature, her key, and a home that is not hers."""
    ((one, details),) = shipped_runs(NAME)
    append(dataclasses.replace(one, seed=5), home(), details)
    ada = key(tmp_path, "ada")
    code, out, err = call("evidence", "export", "a.zip", "--name", "ada", "--sign", ada)
    assert (code, err) == (0, "")
    assert "signature in a.zip.sig" in out
    monkeypatch.setenv("KEYTURN_HOME", str(tmp_path / "other"))
    return ada


def known(tmp_path, path, who="ada@example.org"):
    file = tmp_path / "signers"
    file.write_text(f"{who} {path.with_suffix('.pub').read_text()}")
    return file


def test_a_known_signer_is_named_and_an_unknown_key_is_said_to_be_unknown(call, signed, tmp_path):
    code, out, err = call("evidence", "verify", "a.zip", "--signers", known(tmp_path, signed))
    assert (code, err) == (0, "")
    assert "signed by ada@example.org (SHA256:" in out
    code, out, _ = call("evidence", "verify", "a.zip")
    assert code == 0
    assert "which your file of signers does not know" in out
    code, out, _ = call(
        "evidence", "verify", "a.zip", "--signers", known(tmp_path, key(tmp_path, "ben")), "--json"
    )
    assert json.loads(out)["signature"]["state"] == "unknown"


def test_a_bundle_that_was_changed_after_it_was_signed_is_refused(call, signed, tmp_path):
    ((one, details),) = shipped_runs(NAME)
    append(dataclasses.replace(one, seed=6), home(), details)
    assert call("evidence", "export", "b.zip", "--name", "ada")[0] == 0
    (tmp_path / "a.zip").write_bytes((tmp_path / "b.zip").read_bytes())
    code, out, err = call("evidence", "verify", "a.zip", "--signers", known(tmp_path, signed))
    assert (code, err) == (1, "")
    assert "its signature does not fit" in out
    code, out, err = call("evidence", "import", "a.zip")
    assert (code, out) == (1, "")
    assert "its signature does not fit" in err.splitlines()[0]
    assert not (home() / "evidence" / "imported").exists()


def test_a_signature_for_another_purpose_is_none(call, signed, tmp_path):
    (tmp_path / "a.zip.sig").unlink()
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", signed, "-n", "git", tmp_path / "a.zip"], check=True
    )
    assert (
        "signature does not fit" in call("evidence", "verify", "a.zip", "--signers", known(tmp_path, signed))[1]
    )


def test_a_name_that_was_signed_once_takes_nothing_from_another_key_or_none(call, signed, tmp_path):
    code, out, err = call("evidence", "import", "a.zip", "--signers", known(tmp_path, signed))
    assert (code, err) == (0, "")
    assert "a known signer" in out
    trusted = call("evidence", "trust", "ada")[1]
    assert "count in verdicts here; 1 record signed by ada@example.org (SHA256:" in trusted
    assert "1 record signed by ada@example.org" in call("evidence", "ls")[1]
    ((one, details),) = shipped_runs(NAME)
    append(dataclasses.replace(one, seed=6), home(), details)
    assert call("evidence", "export", "eve.zip", "--name", "ada")[0] == 0
    code, out, err = call("evidence", "import", "eve.zip")
    assert (code, out) == (2, "")
    assert "this bundle is not signed" in err.splitlines()[0]
    assert call("evidence", "export", "eve.zip", "--name", "ada", "--sign", key(tmp_path, "eve"))[0] == 0
    assert "and this bundle by SHA256:" in call("evidence", "import", "eve.zip")[2]
    code, out, _ = call("evidence", "import", "eve.zip", "--from", "eve")
    assert code == 0
    assert call("evidence", "import", "a.zip")[0] == 0  # ada's own key goes on


def test_unsigned_is_said(call, signed, tmp_path):
    (tmp_path / "a.zip.sig").unlink()
    assert "unsigned: anybody can have made it" in call("evidence", "verify", "a.zip")[1]
    assert call("evidence", "import", "a.zip")[0] == 0
    assert "unsigned: anybody can call themselves ada" in call("evidence", "trust", "ada")[1]


def test_without_openssh_nothing_is_claimed(call, signed, tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.shutil, "which", lambda name: None)
    code, out, _ = call("evidence", "verify", "a.zip", "--signers", known(tmp_path, signed))
    assert code == 0
    assert "its signature was not checked" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "x.zip", "--sign", "gone"), "there is no key gone"),
        (("export", "x.zip", "--sign", "a.zip"), "could not sign with a.zip"),
        (("verify", "a.zip", "--signers", "gone"), "there is no file gone"),
    ],
)
def test_what_cannot_be_signed_or_checked_is_one_line_with_its_fix(
    call, signed, tmp_path, monkeypatch, words, said
):
    monkeypatch.setenv("KEYTURN_HOME", str(tmp_path / "home"))
    code, out, err = call("evidence", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "fix:" in err


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"]
)
def test_what_is_no_signature_does_not_fit(call, signed, tmp_path, data):
    (tmp_path / "a.zip.sig").write_bytes(data)
    code, out, _ = call("evidence", "verify", "a.zip")
    assert code == 1
    assert "its signature does not fit" in out
    (tmp_path / "a.zip.sig").write_bytes(b"x" * (1 << 17))
    assert "too large for a signature" in call("evidence", "verify", "a.zip")[2]
