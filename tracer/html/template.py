"""Pages from templates: each one self-contained, with its style and its scripts.

What a page shows comes from a guest that may be hostile. Three measures protect the reader: every text loses its
control characters, the template engine escapes everything, and the page's content security policy lists the allowed
scripts by their hashes and forbids loading anything.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from tracer.format.errors import TraceError
from vmspec.host.printable import printable


def page(
    template: str,
    *styles: str,
    scripts: Iterable[str] = (),
    filters: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """The page of a template with the common style and these, from files of this folder, and with the texts of scripts.
    Raises TraceError where jinja2 is not installed."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise TraceError(f"the page needs {error.name}: pip install 'vmrun[report]'") from None

    def clean(value: object) -> object:
        """A value for the page: text without control characters, markup unchanged."""
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    trusted = [Markup(script) for script in scripts]
    style = Markup("\n".join(map(text, ("page.css", *styles))))
    return environment.get_template(template).render(style=style, scripts=trusted, policy=_policy(trusted), **values)


def text(name: str) -> str:
    """A file of this folder."""
    return resources.files("tracer.html").joinpath(name).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str]) -> str:
    """The content security policy: these scripts, styles, images within the page, nothing else (CSP level 3, W3C)."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
    # The plotting library styles what it draws, and draws densities as images that it makes.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
