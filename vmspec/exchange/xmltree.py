"""XML as nodes with their places: attributes are parts whose names begin with @, and an element's value is its text.

A document type, and so entities and XML bombs, are rejected (defusedxml).
"""

from pathlib import Path
from typing import Any
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler

from vmspec.exchange.tree import Node, Place
from vmspec.schema.problems import Problem, SpecError

DEEPEST = 64


class _TooDeepError(Exception):
    """The document has more levels of elements than any configuration."""


def parse(text: str, file: Path | None, root: str) -> Node:
    """The root element of a document, which must have this name. Raises SpecError if it is another document or none."""
    from defusedxml import DefusedXmlException
    from defusedxml.sax import parseString

    handler = _Handler(None if file is None else str(file))
    try:
        parseString(text.encode("utf-8", "backslashreplace"), handler, forbid_dtd=True)
    except SAXParseException as error:
        place = Place(handler.file, error.getLineNumber(), (error.getColumnNumber() or 0) + 1)
        raise _problem(f"is not XML: {error.getMessage()}", place) from None
    except DefusedXmlException:
        raise _problem(
            "has a document type, which vmspec does not read: remove <!DOCTYPE …>", handler.place()
        ) from None
    except _TooDeepError:
        raise _problem("is nested too deep", handler.place()) from None
    except (SAXException, ValueError, LookupError) as error:  # an encoding that there is not
        raise _problem(f"is not XML: {error}", handler.place()) from None
    found = next(iter(handler.top.children), None)
    if found is None or found.name != root:
        raise _problem(f"has no <{root}> at its top", Place(handler.file, 1, 1))
    return found


def _problem(message: str, place: Place) -> SpecError:
    return SpecError((Problem("", message).at(*place),))


class _Handler(ContentHandler):
    def __init__(self, file: str | None) -> None:
        super().__init__()
        self.file = file
        self.top = Node("")
        self._stack = [self.top]
        self._texts: list[list[str]] = [[]]  # of the open elements
        self._locator: Any = None

    def setDocumentLocator(self, locator: Any) -> None:
        self._locator = locator

    def place(self) -> Place:
        if self._locator is None or self._locator.getLineNumber() is None:
            return Place(self.file, 1, 1)
        return Place(self.file, self._locator.getLineNumber(), self._locator.getColumnNumber() + 1)

    def startElement(self, name: str, attrs: Any) -> None:
        if len(self._stack) > DEEPEST:
            raise _TooDeepError
        above, place = self._stack[-1], self.place()
        label = f"{above.label}/{name}" if len(self._stack) > 2 else name  # without the root's name
        shown = "".join(f' {key}="{value}"' for key, value in attrs.items())
        parts = [Node(f"@{key}", value, label=f"{label}/@{key}", text=f'<{name} {key}="{value}">', place=place)
                 for key, value in attrs.items()]  # fmt: skip
        node = Node(name, None, parts, label=label, text=f"<{name}{shown}>", place=place)
        above.children.append(node)
        self._stack.append(node)
        self._texts.append([])

    def characters(self, content: str) -> None:
        self._texts[-1].append(content)

    def endElement(self, name: str) -> None:
        node = self._stack.pop()
        node.value = "".join(self._texts.pop()).strip() or None
        if node.value is not None:
            node.text = f"{node.text}{node.value}"
