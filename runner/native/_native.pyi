"""The C extension, made by build.py; native.cdef says what it has."""

from typing import Any

ffi: Any
lib: Any
