"""Every notebook of the examples runs from top to bottom. A program, called by .ci/run; no pytest.

    python tests/packaging/notebooks.py

Executes each in a kernel of its own, in the folder of the examples; nothing is written back. Exits with the
cell and its error at the first fault.
"""

import pathlib

import nbclient
import nbformat

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"

for path in sorted(EXAMPLES.glob("*.ipynb")):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), f"{path.name} is committed without outputs"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("text/html" in output["data"] for output in shown) >= 2, f"{path.name} shows no audit"
    print(f"{path.name}: {len(notebook.cells)} cells")
