"""The site of the shipped atlas, made once for all tests of a process."""

import pytest
from rendered_site import Tree, rendered

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.site.source import Source


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return Source(atlas=load_atlas(home), known=load_known(home), claims=CLAIMS, home=home)


@pytest.fixture(scope="session")
def site(source, tmp_path_factory):
    return rendered(source, tmp_path_factory.mktemp("nothing"))


@pytest.fixture(scope="session")
def trees(site):
    return {path: Tree(content.decode()) for path, content in site.items() if path.endswith(".html")}
