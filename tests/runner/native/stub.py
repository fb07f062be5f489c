"""Writes runner/native/_native.pyi, what mypy knows of the C extension, from the extension's own types.

``make stub`` runs it; test_stub.py compares. Of ``struct ring`` it makes the classes Ring and RingPointer, which both
have RingFields. ``ffi.new`` and ``ffi.cast`` take the types that the runner's code names. Types have no names of
parameters: those are the cdef's.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import isbuiltin
from pathlib import Path
from typing import Any

from runner.native import _native
from runner.native.generated import declarations

NATIVE = Path(__file__).parents[3] / "runner" / "native"
STUB = NATIVE / "_native.pyi"
BYTES = ("char", "uint8_t", "void")  # a parameter that points to these takes bytes as they are
ffi, lib = _native.ffi, _native.lib

HEAD = '''
"""The C extension's types. ``make stub`` writes them; do not edit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

T = TypeVar("T")

class CType:
    kind: str
    cname: str
    fields: list[tuple[str, CField]]
    item: CType

class CField:
    type: CType
    offset: int

class CData: ...

class Number(CData):
    def __int__(self) -> int: ...

class Pointer(CData, Generic[T]):
    @overload
    def __getitem__(self, index: int, /) -> T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Array[T]: ...
    def __setitem__(self, index: int, value: T, /) -> None: ...
    def __add__(self, items: int, /) -> Pointer[T]: ...

class Array(Pointer[T]):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...

class Buffer:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int | slice, /) -> bytes: ...
    def __setitem__(self, index: int | slice, value: bytes, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
'''

FFI = """
class FFI:
    errno: int
    NULL: Any  # a pointer of every type
    def typeof(self, cdecl: str | CData, /) -> CType: ...
    def sizeof(self, cdecl: str | CData | CType, /) -> int: ...
    def buffer(self, cdata: CData, size: int = -1, /) -> Buffer: ...
    def from_buffer(self, buffer: Any, /) -> Array[Char]: ...
    def release(self, cdata: CData, /) -> None: ...
    def string(self, cdata: Any, /) -> bytes: ...
    def gc(self, cdata: Any, destructor: Any, /) -> Any: ...
    def new_handle(self, value: Any, /) -> Any: ...
    def from_handle(self, handle: Any, /) -> Any: ...
    def def_extern(self) -> Callable[[T], T]: ...
    @overload
    def cast(self, cdecl: CType, value: CData | int, /) -> Pointer[Any]: ...
    @overload
    def cast(self, cdecl: Literal["uintptr_t"], value: CData, /) -> Number: ...
"""


def text() -> str:
    """The whole stub, as ruff formats it."""
    lines = (HEAD.lstrip(), *classes(), FFI.rstrip(), *overloads(), "class Lib:", *names(), "ffi: FFI", "lib: Lib")
    command = [Path(sys.executable).with_name("ruff"), "format", "--stdin-filename", STUB, "-"]
    return subprocess.run(command, input="\n".join(lines), text=True, check=True, stdout=subprocess.PIPE).stdout


def classes() -> Iterator[str]:
    """The numbers behind pointers, the enums and the structs."""
    for ctype in items():
        match ctype.kind:
            case "primitive" | "enum":
                yield f"class {camel(ctype)}({'bytes' if ctype.cname == 'char' else 'int'}): ..."
            case "struct":
                name = camel(ctype)
                yield f"class {name}Fields:{'' if ctype.fields else ' ...'}"
                yield from (f"    {field}: {read(one.type)}" for field, one in ctype.fields)
                yield f"class {name}({name}Fields, CData): ..."
                yield f"class {name}Pointer({name}Fields, Pointer[{name}]): ..."


def overloads() -> Iterator[str]:
    """new(), cast() and addressof(), for the types that the runner's code names."""
    code = "".join(path.read_text() for path in sorted(NATIVE.parent.rglob("*.py")))
    named = sorted(set(re.findall(r'ffi\.(new|cast)\("([^"]+)"', code)))
    for function, cdecl in named:
        if cdecl == "uintptr_t":
            continue
        ctype = ffi.typeof(cdecl)
        value = "CData | int" if function == "cast" else initial(ctype)
        yield from _overload(function, f'cdecl: Literal["{cdecl}"], value: {value}', read(ctype))
    for _, cdecl in named:
        if cdecl.startswith("struct ") and cdecl.endswith("[]"):
            item = ffi.typeof(cdecl).item
            yield from _overload("addressof", f"items: Array[{camel(item)}], index: int", f"{camel(item)}Pointer")
    yield from _overload("addressof", "structure: CData | Lib, field: str", "Any")


def initial(ctype: Any) -> str:
    """What new() takes as the value of a pointer's item, or of an array's."""
    item, many = ctype.item, ctype.kind == "array"
    match item.kind:
        case "struct" if many:
            value = "tuple[int, ...]"
        case "struct":
            keys = ", ".join(f'"{field}"' for field, _ in item.fields)
            value = f"Mapping[Literal[{keys}], Any]"
        case _:
            value = parameter(item)
    if not many:
        return f"{value} = ..."
    return "int | bytes" if item.cname in BYTES else f"int | Sequence[{value}]"


def _overload(function: str, parameters: str, result: str) -> Iterator[str]:
    yield "    @overload"
    yield f"    def {function}(self, {parameters}, /) -> {result}: ..."


def names() -> Iterator[str]:
    """What ``lib`` has: constants, variables, functions."""
    constants = {name: camel(ctype) for ctype in items() if ctype.kind == "enum" for name in ctype.elements.values()}
    cdef = declarations() + (NATIVE / "native.cdef").read_text()
    declared = dict(re.findall(r"\b(\w+)\(([^()]*)\);", cdef))
    for name in dir(lib):
        if name in functions():
            function = functions()[name]
            words = [re.findall(r"\w+", parameter)[-1] for parameter in declared[name].split(",")]
            arguments = zip(words, function.args, strict=False)  # f(void) has none
            parameters = "".join(f"{word}: {parameter(ctype)}, " for word, ctype in arguments)
            yield f"    def {name}(self, {parameters}/) -> {read(function.result)}: ..."
        elif isinstance(value := getattr(lib, name), int):
            yield f"    {name}: {constants.get(name, 'int')}"
        else:
            yield f"    {name}: {read(ffi.typeof(value))}"


def functions() -> dict[str, Any]:
    """The types of the functions."""
    return {name: ffi.typeof(value) for name in dir(lib) if isbuiltin(value := getattr(lib, name))}


def items() -> list[Any]:
    """The structs, and what fields and parameters point to or are arrays of, by name."""
    left = [ffi.typeof(f"struct {name}") for name in ffi.list_types()[1]]
    found = {ctype.cname: ctype for ctype in left}
    left += [field.type for struct in left for _, field in struct.fields]
    left += [one for function in functions().values() for one in (*function.args, function.result)]
    for ctype in left:
        item = ctype.item if ctype.kind in ("pointer", "array") else ctype if ctype.kind == "enum" else None
        if item is not None and item.kind != "void" and item.cname not in found:
            found[item.cname] = item
            left.append(item)
    return [found[name] for name in sorted(found)]


def camel(ctype: Any) -> str:
    """A class's name: KvmRegs of struct kvm_regs, Uint64 of uint64_t."""
    name = re.sub(r"^(struct|enum) |_t$", "", ctype.cname)
    return "".join(word.capitalize() for word in re.split(r"[ _]", name))


def read(ctype: Any) -> str:
    """What a field of this type is, or a function returns."""
    match ctype.kind:
        case "void":
            return "None"
        case "function":
            return "Any"
        case "primitive":
            return {"_Bool": "bool", "char": "bytes"}.get(ctype.cname, "int")
        case "pointer" if ctype.item.kind == "struct":
            return f"{camel(ctype.item)}Pointer"
        case "pointer" | "array":
            return f"{'Pointer' if ctype.kind == 'pointer' else 'Array'}[{_item(ctype.item)}]"
        case _:
            return camel(ctype)


def parameter(ctype: Any) -> str:
    """What a function takes for a parameter of this type. An array is a pointer, too."""
    if ctype.kind != "pointer":
        return read(ctype)
    return f"Pointer[{_item(ctype.item)}]{' | bytes' * (ctype.item.cname in BYTES)}"


def _item(ctype: Any) -> str:
    match ctype.kind:
        case "void":
            return "Any"
        case "pointer" | "array":
            return read(ctype)
        case _:
            return camel(ctype)


if __name__ == "__main__":
    STUB.write_text(text())
