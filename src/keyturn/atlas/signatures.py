"""Signatures of bundles, made and checked by OpenSSH; keyturn handles no key.

    OUT.zip.sig                            beside the bundle: `ssh-keygen -Y sign -n keyturn-evidence`
    $KEYTURN_HOME/evidence/allowed_signers whose keys are known: lines `NAME ssh-ed25519 AAAA...`

A signature says whose key signed these bytes, not that they are true. Source: ssh-keygen(1), ALLOWED SIGNERS;
OpenSSH 8.2 or newer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from keyturn.core.errors import InputError, UsageError
from keyturn.core.measurement import Json
from keyturn.core.text import one_line

NAMESPACE = "keyturn-evidence"
"""A signature that was made for something else, such as a commit or a mail, is none of a bundle."""
LARGEST = 1 << 16
"""Bytes of a signature."""
State: TypeAlias = Literal["unsigned", "known", "unknown", "wrong", "unchecked"]
_GOOD = re.compile(r'Good "keyturn-evidence" signature (?:for .+ )?with \S+ key (SHA256:[A-Za-z0-9+/=]+)')
_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What is known of a bundle's signature.

    Args:
        state: ``unsigned``; ``known`` (by a key of the file of signers); ``unknown`` (sound, by another key);
            ``wrong`` (it does not fit the bundle, or is no signature); ``unchecked`` (no ssh-keygen here).
        key: fingerprint of the key, ``SHA256:...``; "" where there is no sound signature.
        who: the name that the file of signers gives to the key.
    """

    state: State
    key: str = ""
    who: str = ""

    @property
    def says(self) -> str:
        """The same in words."""
        return {
            "unsigned": "unsigned: anybody can have made it",
            "known": f"signed by {self.who} ({self.key}), a known signer",
            "unknown": f"signed by the key {self.key}, which your file of signers does not know",
            "wrong": "its signature does not fit: one of the two was changed, or it signs something else",
            "unchecked": "its signature was not checked: there is no ssh-keygen here",
        }[self.state]

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {"state": self.state, "key": self.key, "who": self.who}


UNSIGNED = Signature(state="unsigned")


def signature_path(bundle: Path) -> Path:
    """The file beside a bundle that holds its signature."""
    return bundle.with_name(f"{bundle.name}.sig")


def signers_path(home: Path) -> Path:
    """The file of known signers of a home."""
    return home / "evidence" / "allowed_signers"


def sign(bundle: Path, key: Path) -> Path:
    """Sign a bundle; OpenSSH asks for a passphrase or its agent where the key needs one.

    Args:
        bundle: the file.
        key: a private key, or the public one of a key that ssh-agent holds.

    Returns:
        The signature's file.

    Raises:
        UsageError: there is no ssh-keygen, or it cannot sign with that key; its own words are passed on.
    """
    program = _program()
    if program is None:
        raise UsageError(
            "signing takes ssh-keygen, which is not here", fix="install OpenSSH, or leave --sign out"
        )
    if not key.expanduser().is_file():
        raise UsageError(f"there is no key {key}", fix="ssh-keygen -t ed25519 -f KEY makes one")
    place = signature_path(bundle)
    place.unlink(missing_ok=True)
    words = [
        program,
        "-Y",
        "sign",
        "-f",
        str(key.expanduser().absolute()),
        "-n",
        NAMESPACE,
        str(bundle.absolute()),
    ]
    done = subprocess.run(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=_plain())
    if done.returncode or not place.is_file():
        said = one_line(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given", 200)
        raise UsageError(f"ssh-keygen could not sign with {key}: {said}", fix="name a private key of SSH")
    return place


def signature_of(bundle: Path, signers: Path) -> Signature:
    """What the signature beside a bundle says.

    Args:
        bundle: the file.
        signers: the file of known signers; where there is none, no key is known.

    Raises:
        InputError: the signature is too large to be one.
    """
    place = signature_path(bundle)
    if not place.is_file():
        return UNSIGNED
    if place.stat().st_size > LARGEST:
        raise InputError(f"{place} is too large for a signature", fix="ask its maker for the file again")
    if _program() is None:
        return Signature(state="unchecked")
    sound = _GOOD.search(_said(bundle, "check-novalidate", "-n", NAMESPACE, "-s", str(place.absolute())))
    if sound is None:
        return Signature(state="wrong")
    if signers.is_file():
        known = str(signers.absolute())
        found = _said(bundle, "find-principals", "-s", str(place.absolute()), "-f", known)
        for who in (line.strip() for line in found.splitlines()):
            words = ("verify", "-f", known, "-I", who, "-n", NAMESPACE, "-s", str(place.absolute()))
            if who and _GOOD.search(_said(bundle, *words)):
                return Signature(state="known", key=sound[1], who=one_line(who, 80))
    return Signature(state="unknown", key=sound[1])


def _said(bundle: Path, *words: str) -> str:
    """What ssh-keygen says of a bundle on its standard input; nothing where it refuses."""
    program = _program() or ""
    with bundle.open("rb") as data:
        try:
            done = subprocess.run(
                [program, "-Y", *words],
                stdin=data,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                env=_plain(),
            )
        except subprocess.TimeoutExpired:
            return ""
    return done.stdout if done.returncode == 0 else ""


def _program() -> str | None:
    return shutil.which("ssh-keygen")


def _plain() -> dict[str, str]:
    """The environment, with messages in English."""
    return {**os.environ, "LC_ALL": "C"}
