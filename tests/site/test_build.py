"""Writing the folder: only what changed, nothing that is not ours, the same bytes again."""

import os

import pytest

from keyturn.core.errors import UsageError
from keyturn.site.build import MANIFEST, write_site
from keyturn.site.page import relative

FILES = {"index.html": b"home", "notes/a.html": b"a", "notes/b.html": b"b"}


def test_a_second_build_writes_nothing_and_a_third_only_what_changed(tmp_path):
    out = tmp_path / "out"
    first = write_site(FILES.items(), out)
    assert (first.files, set(first.written), first.removed) == (3, set(FILES), ())
    again = write_site(FILES.items(), out)
    assert (again.written, again.removed) == ((), ())
    third = write_site({"index.html": b"new", "notes/a.html": b"a"}.items(), out)
    assert (third.written, third.removed) == (("index.html",), ("notes/b.html",))
    assert not (out / "notes/b.html").exists()


def test_a_lost_file_is_written_again(tmp_path):
    write_site(FILES.items(), tmp_path / "out")
    (tmp_path / "out/notes/a.html").unlink()
    assert write_site(FILES.items(), tmp_path / "out").written == ("notes/a.html",)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError) as error:
        write_site(FILES.items(), tmp_path)
    assert "empty folder" in error.value.fix
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(UsageError):
        write_site(FILES.items(), tmp_path / "thesis.tex")


def test_an_interrupted_build_is_gone_on_with(tmp_path):
    def broken():
        yield "index.html", b"home"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_site(broken(), tmp_path / "out")
    assert write_site(FILES.items(), tmp_path / "out").files == 3


@pytest.mark.parametrize("name", ["../x.html", "/etc/x", "a/../../x", "a\\b"])
def test_no_page_is_written_outside(tmp_path, name):
    with pytest.raises(UsageError):
        write_site([(name, b"x")], tmp_path / "out")
    assert not (tmp_path / "x.html").exists()


def test_the_manifest_is_no_page_and_names_every_file(tmp_path):
    write_site(FILES.items(), tmp_path / "out")
    text = (tmp_path / "out" / MANIFEST).read_text("utf-8")
    assert all(f'"{name}"' in text for name in FILES)


def test_links_are_relative_from_every_depth():
    assert relative("index.html", "notes/a.html") == "notes/a.html"
    assert relative("notes/a.html", "notes/b.html#x") == "b.html#x"
    assert relative("notes/a.html", "claims/index.html#y") == "../claims/index.html#y"
    assert relative("notes/a.html", "notes/a.html#z") == "#z"
    assert relative("notes/a.html", "index.html") == "../index.html"
