"""The notebook runs from its first cell to its last on a real boot's trace, and its answers match the trace."""

from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "boot.ipynb"


@pytest.fixture(scope="module")
def boot(lab):
    return lab.run("sample", "6.1-cloud-bzimage-2-256MiB-reset")


@pytest.fixture(scope="module")
def outputs(boot):
    """What the code cells gave, as text."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells[1].source = f"import os; os.environ['TRACE'] = {str(boot.path)!r}\n" + notebook.cells[1].source
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    return [
        "".join(output["data"]["text/plain"] for output in cell.outputs if output["output_type"] == "execute_result")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


# A kernel of Jupyter's talks over sockets that it closes late, and its libraries warn of what is theirs.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_answers(outputs, boot):
    assert "'kind': 'reset', 'status': 0" in outputs[0]
    assert "drivers" in outputs[1]
    assert "io_serial_out" in outputs[4]
    assert "COM1 THR" in outputs[5]
    assert "PCI config" in outputs[6]
    assert all(outputs)
