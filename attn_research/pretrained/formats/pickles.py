"""Pickles interpreted as data: a few known names, and nothing is imported for any other.

A pickle is a program for a stack machine, whose words for a class or a function make the standard
library import and call it. Here its opcodes are read one by one. Those of plain values are carried
out; a name stands for a value that the caller gave for it, and every other name is refused.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

_MARK = object()
_MAX_BITS = 127  # of a whole number; the longest there is marks a file of PyTorch's, with 80

_IGNORED = {"PROTO", "FRAME"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OBJECTS = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


class Unpicklable(ValueError):
    """A pickle that asks for something other than plain values and known names."""


class PickleMachine:
    """The stack machine of pickles of plain values.

    `known` gives what a name such as "collections.OrderedDict" stands for; where that is a function
    of ours, a pickle may call it. `persistent` gives what a persistent id stands for.
    """

    def __init__(self, known: Mapping[str, Any], persistent: Callable[[Any], Any]):
        self._known, self._persistent = known, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: BytesIO) -> Any:
        """The value of the pickle at the file's place, which is then its end.

        The file is one in memory: the lengths of a damaged pickle are asked of it. Raises an
        Unpicklable or another ValueError of one line, without the name of the file.
        """
        self._stack, self._memo = [], {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "STOP":
                    (value,) = self._stack
                    return value
                self._carry_out(opcode.name, argument)
        except Unpicklable:
            raise
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"a damaged pickle ({type(error).__name__}: {error})") from None
        raise ValueError("a damaged pickle (it has no end)")

    def _carry_out(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case _ if name in _IGNORED:
                pass
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _ if name in _NUMBERS:
                stack.append(_checked_number(argument))
            case _ if name in _TEXTS:
                stack.append(argument)
            case _ if name in _TUPLES:
                stack.append(tuple(self._pop(_TUPLES[name])))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                stack.append(_MARK)
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "LIST":
                stack.append(self._pop_to_mark())
            case "DICT":
                items = self._pop_to_mark()
                stack.append({})
                self._set(items)
            case "APPEND" | "APPENDS":
                items = self._pop(1) if name == "APPEND" else self._pop_to_mark()
                self._top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                self._set(self._pop(2) if name == "SETITEM" else self._pop_to_mark())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._find(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(self._find(*self._pop(2)))
            case "REDUCE":
                function, arguments = self._pop(2)
                stack.append(function(*arguments))
            case "BUILD":
                self._build(*self._pop(1))
            case "BINPERSID":
                stack.append(self._persistent(*self._pop(1)))
            case _:
                kind = "pickled object" if name in _OBJECTS else "pickled value"
                raise Unpicklable(f"a {kind} (opcode {name})")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise IndexError("its stack is empty")
        kept = len(self._stack) - count
        values = self._stack[kept:]
        del self._stack[kept:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        count = 0
        while self._stack[-1 - count] is not _MARK:
            count += 1
        values = self._pop(count)
        self._stack.pop()
        return values

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise TypeError(f"no {kind.__name__} to put something into")
        return self._stack[-1]

    def _set(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # hashing a nested tuple may take for ever
                raise Unpicklable(f"a dictionary whose keys are of type {type(key).__name__}")
            self._top(dict)[key] = value

    def _find(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._known:
            raise Unpicklable(f"a pickled object of class {full[:120]}")
        return self._known[full]

    def _build(self, state: Any) -> None:
        """Sets attributes: of a state dict, the versions of its modules, which no tensor needs."""
        if not isinstance(state, dict) or set(state) != {"_metadata"}:
            raise Unpicklable("a pickled object with attributes")
        self._top(OrderedDict)


def _checked_number(value: int | float) -> int | float:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError(f"a number of {value.bit_length()} bits")
    return value
