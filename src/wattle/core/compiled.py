"""Kernels: plain functions on arrays that are compiled at their first call.

Numba is imported only when a kernel first runs, so that `import wattle` and `wattle --help` stay quick. `twin()` is
the same source in plain Python, for tests on machines and cases where the compiler itself is in doubt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import update_wrapper
from types import CodeType, FunctionType
from typing import Any, cast


class Kernel:
    """A function on arrays and its compiled form.

    `signature` names the arguments in order: r8, r4, r1 a read-only array of int64, int32, int8; w8, w4, w1 the same,
    written to; rf, wf arrays of float64; i an int64, f a float64. One signature per kernel keeps the first start short.
    """

    def __init__(self, plain: Callable[..., Any], signature: str) -> None:
        self.plain = cast(FunctionType, plain)
        self._signature = signature
        self._fast: Callable[..., Any] | None = None
        update_wrapper(self, plain)

    def _with(self, inner: Callable[[Kernel], Callable[..., Any]]) -> FunctionType:
        # Kernels that this one calls are globals of its module; they are exchanged in a copy of the function.
        swapped = dict(self.plain.__globals__)
        for name in self.plain.__code__.co_names:
            if isinstance(swapped.get(name), Kernel):
                swapped[name] = inner(swapped[name])
        copy = FunctionType(self.plain.__code__, swapped, self.plain.__name__, self.plain.__defaults__)
        return cast(FunctionType, update_wrapper(copy, self.plain))

    def twin(self) -> Callable[..., Any]:
        """Return the same function in plain Python, inner kernels included."""
        return self._with(lambda kernel: kernel.twin())

    def compiled(self) -> Callable[..., Any]:
        """Return the compiled function; the machine code is cached on disk between runs."""
        if self._fast is None:
            import numba

            function = self._with(lambda kernel: kernel.compiled())
            # Numba's cache on disk looks at the file of this kernel only, but machine code holds inner kernels and
            # constants of other files too. With their fingerprint in the name, old machine code is never found.
            function.__qualname__ += "_" + self.fingerprint()
            self._fast = numba.njit(_types(self._signature), nogil=True, cache=True, error_model="numpy")(function)
        return cast(Callable[..., Any], self._fast)

    def fingerprint(self) -> str:
        """Return a hash of the code, of the kernels that it calls, and of the constants that both name."""
        digest = hashlib.sha256(self._signature.encode())
        for part in _code_parts(self.plain.__code__):
            digest.update(part)
        for name in sorted(self.plain.__code__.co_names):
            value = self.plain.__globals__.get(name)
            if isinstance(value, Kernel):
                digest.update(value.fingerprint().encode())
            elif isinstance(value, (int, float)):
                digest.update(f"{name}={value!r}".encode())
        return digest.hexdigest()[:16]

    def __call__(self, *arguments: Any) -> Any:
        return (self._fast or self.compiled())(*arguments)


def kernel(signature: str) -> Callable[[Callable[..., Any]], Kernel]:
    """Return a decorator that makes a `Kernel`; see there for the signature."""
    return lambda plain: Kernel(plain, signature)


def _code_parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield repr(constant).encode()


def _types(signature: str) -> tuple[Any, ...]:
    from numba import types

    scalars = {"8": types.int64, "4": types.int32, "1": types.int8, "f": types.float64}
    found: list[Any] = []
    for word in signature.split():
        if word in ("i", "f"):
            found.append(types.int64 if word == "i" else types.float64)
        else:
            dimensions = 2 if len(word) == 3 else 1  # r82: a read-only matrix of int64
            found.append(types.Array(scalars[word[1]], dimensions, "C", readonly=word[0] == "r"))
    return tuple(found)
