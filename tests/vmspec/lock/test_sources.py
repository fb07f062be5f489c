"""The files that a Python device is made from."""

import pytest

from vmspec.lock.sources import sources

FILES = {
    "device.py": "import one\nfrom parts import inner\nimport os, json\nfrom two import name\n",
    "one.py": "def late():\n    import three\n",
    "two.py": "name = 1\n",
    "three.py": "from parts.deep import last\n",
    "four.py": "",
    "parts/__init__.py": "",
    "parts/inner.py": "from . import sibling\nfrom ..four import x\nfrom .deep.other import y\n",
    "parts/sibling.py": "",
    "parts/deep/__init__.py": "",
    "parts/deep/last.py": "",
    "parts/deep/other.py": "import device",
    "parts/unused.py": "",
    "json.py": "a neighbour of this name is no Python",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(folder, module):
    return {str(path.relative_to(folder)) for path in sources(folder / module)}


def test_all_that_is_imported_from_beside_it(folder):
    assert names(folder, "device.py") == {*FILES} - {"parts/unused.py"}


def test_a_device_in_a_folder_has_its_neighbours_there(folder):
    (folder / "parts" / "near.py").write_text("import sibling, one\n")
    assert names(folder, "parts/near.py") == {"parts/near.py", "parts/sibling.py"}


@pytest.mark.parametrize("text", ["import (", "\0", "x = " + "(" * 5000, "# -*- coding: no-such -*-\n"])
def test_a_file_that_is_no_python_is_itself(folder, text):
    (folder / "device.py").write_text(text)
    assert names(folder, "device.py") == {"device.py"}


def test_a_file_that_is_missing_is_none(folder):
    assert names(folder, "missing.py") == set()
