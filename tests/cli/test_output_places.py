"""Where results go: links, files and loops in the way, disks that are small or not ours."""

import json
import os
import subprocess

import pytest


@pytest.fixture
def audit(tmp_path, call):
    """Audit two small files into a place: exit code and what was said."""
    for name, rate in (("base", 2), ("tuned", 8)):
        rows = [
            {"problem_id": f"p{i}", "completion": f"{name} {i} {d}", "success": (d * 7 + i * 3) % 10 < rate}
            for i in range(30)
            for d in range(4)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(place):
        code, _, said = call("audit", "--samples", "base.jsonl", "tuned.jsonl", "--k", 4, "--out", place)
        return code, said

    return run


def test_links_of_the_names_are_replaced_and_what_they_point_to_stays(tmp_path, audit):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    for name in ("report.html", "audit.json", "audit.md"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "mine")
    assert audit("out")[0] == 0
    assert (tmp_path / "mine").read_text() == "mine"
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_a_directory_that_is_a_link_is_the_directory(tmp_path, audit):
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "there")
    assert audit("out")[0] == 0
    assert (tmp_path / "there" / "report.html").is_file()


@pytest.mark.parametrize("kind", ["file", "dangling", "loop", "directory in the way"])
def test_what_is_in_the_way_is_one_line(tmp_path, audit, kind):
    place = tmp_path / "out"
    if kind == "file":
        place.touch()
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "loop":
        place.symlink_to(place)
    else:
        (place / "report.html" / "x").mkdir(parents=True)
    code, said = audit("out")
    assert code == 1
    assert "Traceback" not in said
    assert "fix: " in said
    assert str(place.name) in said


def test_a_file_system_without_room_is_one_line_and_leaves_nothing_half_made(tmp_path, audit):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(disk)]
    try:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no tmpfs can be mounted here")
    except FileNotFoundError:
        pytest.skip("no mount here")
    try:
        code, said = audit(disk / "out")
        assert code == 1
        assert "disk full while writing" in said
        assert os.listdir(disk / "out") == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
