"""The table files of TensorFlow's checkpoints (LevelDB's format), and their checksums.

TensorFlow's own reader aborts the whole process on some damaged tables, and takes ten seconds to
import; a table is a few dozen lines.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from keras_inception.budget import Budget
from keras_inception.protobuf import number_bytes, varint

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER = 48
_TRAILER = 5  # after each block: how it is compressed, and a checksum
_RAW, _SNAPPY = 0, 1
_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected
_CHUNK = 2**20


def entries(data: memoryview, budget: Budget) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of a table, whose checksums are verified.

    Raises:
        ValueError, IndexError: it is damaged.
    """
    if len(data) < _FOOTER or data[-8:] != MAGIC:
        raise ValueError("it does not end as a table does")
    footer, numbers, at = data[-_FOOTER:], [], 0
    for _ in range(4):  # offset and size of the metaindex, and of the index
        number, at = varint(footer, at)
        numbers.append(number)
    offset, size = numbers[2:]
    last = b""
    for _, handle in _block(data, offset, size, budget):
        offset, at = varint(handle, 0)
        size, _ = varint(handle, at)
        for key, value in _block(data, offset, size, budget):
            if key <= last and last:
                raise ValueError("its keys are not in order")
            yield key, value
            last = key


def _block(
    data: memoryview, offset: int, size: int, budget: Budget
) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of one block."""
    block = data[offset : offset + size + _TRAILER]
    if len(block) != size + _TRAILER:
        raise ValueError("one of its blocks is not in the file")
    budget.take(size, "one of its blocks")
    if masked_crc32c(block[: size + 1]) != int.from_bytes(block[size + 1 :], "little"):
        raise ValueError("the checksum of one of its blocks is wrong")
    kind, block = block[size], block[:size]
    if kind == _SNAPPY:
        # The format allows it. TensorFlow's writers set kNoCompression (tensor_slice_writer.cc,
        # `TableBuilder`, and since 1.2 tensor_bundle.cc, `TableBuilderOptions`).
        raise ValueError(
            "one of its blocks is compressed with snappy, which is not read: load it with "
            "TensorFlow 2 and save it again"
        )
    if kind != _RAW:
        raise ValueError("one of its blocks is compressed in an unknown way")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError("one of its blocks is damaged")
    at, key = 0, b""
    while at < end:
        budget.part()
        shared, at = varint(block, at)
        more, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + more + length > end:
            raise ValueError("one of its blocks is damaged")
        key = key[:shared] + bytes(block[at : at + more])
        yield key, block[at + more : at + more + length]
        at += more + length


def write(entries: dict[bytes, bytes]) -> bytes:
    """A table of keys and values, whose keys are in order."""
    table = bytearray()

    def block(items: dict[bytes, bytes]) -> bytes:
        """Adds a block, and returns its handle: where it is, and its size."""
        content, starts = bytearray(), []
        for key, value in items.items():
            starts.append(len(content))  # no key shares a beginning with the one before
            content += b"\0" + number_bytes(len(key)) + number_bytes(len(value)) + key + value
        starts = starts or [0]
        content += np.array([*starts, len(starts)], "<u4").tobytes()
        handle = number_bytes(len(table)) + number_bytes(len(content))
        content.append(_RAW)
        table.extend(content + masked_crc32c(memoryview(content)).to_bytes(4, "little"))
        return handle

    data, metaindex = block(entries), block({})
    index = block({list(entries)[-1]: data})
    return bytes(table) + (metaindex + index).ljust(_FOOTER - len(MAGIC), b"\0") + MAGIC


def masked_crc32c(data: memoryview) -> int:
    """CRC-32C of some bytes, rotated and shifted as TensorFlow stores it."""
    crc = 0xFFFFFFFF
    for start in range(0, len(data), _CHUNK):
        crc = _crc_on(data[start : start + _CHUNK], crc)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_on(data: memoryview, crc: int) -> int:
    """The register after more bytes.

    The register is linear over exclusive or, so that halves are combined: neighboring words are
    folded into one, in which the first counts as moved on by the second's length.
    """
    whole = len(data) // 4 * 4
    if whole:
        words = np.frombuffer(data[:whole], "<u4").copy()
        words[0] ^= crc
        level = 0
        while len(words) > 1:
            if len(words) % 2:
                words = np.concatenate([np.zeros(1, np.uint32), words])
            words = _moved(words[0::2], level) ^ words[1::2]
            level += 1
        crc = int(_moved(words, 0)[0])
    byte_table = _tables(0)[3]  # the register's last byte leaves it first
    for byte in data[whole:]:
        crc = int(byte_table[(crc ^ byte) & 255]) ^ crc >> 8
    return crc


def _moved(words: np.ndarray, level: int) -> np.ndarray:
    """Registers after 4 * 2**level bytes of zeros."""
    tables = _tables(level)
    moved = tables[0][words & 255]
    for i in (1, 2, 3):
        moved ^= tables[i][words >> np.uint32(8 * i) & 255]
    return moved


@functools.cache
def _tables(level: int) -> np.ndarray:
    """(4, 256): what each byte of a register becomes after 4 * 2**level bytes of zeros."""
    if level:
        shifts = np.arange(4, dtype=np.uint32)[:, None] * 8
        registers = np.arange(256, dtype=np.uint32)[None] << shifts
        for _ in range(2):
            registers = _moved(registers, level - 1)
        return registers
    registers = np.arange(256, dtype=np.uint32)
    tables = []
    for _ in range(4):
        for _ in range(8):
            registers = registers >> 1 ^ np.uint32(_POLYNOMIAL) * (registers & 1)
        tables.append(registers)
    return np.stack(tables[::-1])
