"""vmrun in pytest: specs as tests, and the fixture ``vm`` for tests in Python.

pytest loads :mod:`runner.pytestplugin.plugin` in every run where vmrun is installed, so that imports little.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from runner.pytestplugin.guest import Guest, NotPrintedError
    from runner.pytestplugin.machines import Machines
else:  # unknown to type checkers, for which every name would be there
    __getattr__, __dir__ = exports(
        __name__,
        {
            "Guest": "runner.pytestplugin.guest",
            "Machines": "runner.pytestplugin.machines",
            "NotPrintedError": "runner.pytestplugin.guest",
        },
    )

__all__ = ["Guest", "Machines", "NotPrintedError"]
