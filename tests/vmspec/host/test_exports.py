"""The packages' public names."""

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ("vmspec", "runner", "tracer")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = import_module(package)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_fresh_interpreter_lists_them_before_they_are_imported(package):
    code = f"import {package} as module; assert set(module.__all__) <= set(dir(module)), dir(module)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_another_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'no_such_name'"):
        assert import_module(package).no_such_name
