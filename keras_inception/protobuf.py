"""The wire format of protocol buffers, as far as files of weights and of graphs need it."""

from __future__ import annotations

from collections.abc import Iterator

from keras_inception.budget import Budget

# A field's value: a whole number, or the bytes of everything else.
Value = int | memoryview


def fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, Value]]:
    """(field number, value) of a message: whole numbers as int, all else as bytes.

    Raises:
        ValueError, IndexError: it is no whole message.
    """
    at = 0
    while at < len(data):
        budget.part()
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if length > len(data) - at:
            raise ValueError("it ends within a field")
        yield key >> 3, data[at : at + length]
        at += length


class Message:
    """A message's fields by number. Every method raises ValueError for a value of another kind."""

    def __init__(self, data: memoryview, budget: Budget) -> None:
        self._budget = budget
        self._fields: dict[int, list[Value]] = {}
        for number, value in fields(data, budget):
            self._fields.setdefault(number, []).append(value)

    def number(self, field: int) -> int:
        """The last whole number of that field, or 0."""
        values = self._fields.get(field, [0])
        if not isinstance(values[-1], int):
            raise ValueError("it holds bytes in the place of a number")
        return values[-1]

    def numbers(self, field: int) -> list[int]:
        """All whole numbers of that field, whether they are packed or not."""
        found = []
        for value in self._fields.get(field, []):
            if isinstance(value, int):
                found.append(value)
                continue
            at = 0
            while at < len(value):
                self._budget.part()
                number, at = varint(value, at)
                found.append(number)
        return found

    def all(self, field: int) -> list[memoryview]:
        """All bytes of that field."""
        found = []
        for value in self._fields.get(field, []):
            if isinstance(value, int):
                raise ValueError("it holds a number in the place of bytes")
            found.append(value)
        return found

    def bytes(self, field: int) -> memoryview:
        """The last bytes of that field, or none."""
        return (self.all(field) or [memoryview(b"")])[-1]

    def text(self, field: int) -> str:
        """The last text of that field, or the empty one."""
        return str(self.bytes(field), "utf-8")

    def message(self, field: int) -> Message:
        """The last message of that field, or an empty one."""
        return Message(self.bytes(field), self._budget)

    def messages(self, field: int) -> list[Message]:
        """All messages of that field."""
        return [Message(data, self._budget) for data in self.all(field)]


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, below 2**64, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            if value >= 2**64:
                break
            return value, at
    raise ValueError("it holds a number of more than 64 bits")


def number_bytes(value: int) -> bytes:
    """A whole number of 64 bits, as `varint` reads it."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes(written) + bytes([value])


def field_bytes(key: int, value: int | bytes) -> bytes:
    """A field of a message: a whole number, or bytes."""
    if isinstance(value, int):
        return number_bytes(key << 3) + number_bytes(value)
    return number_bytes(key << 3 | 2) + number_bytes(len(value)) + value
