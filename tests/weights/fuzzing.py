"""Mutates small valid weights files and reads the mutants, many in one process with limits.

`python fuzzing.py FOLDER PLACE FIRST LAST` reads the mutants FIRST to LAST of the files in
FOLDER, each written to the empty folder PLACE.
Mutant number n is the same on every machine. Out come a line with each number before it is read,
and a line of JSON for each that was neither refused as it should nor loaded as it should: whoever
started the process knows which mutant ended it, if one did.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np

# What a mutant may take besides what the process has: the budget of a small file, Python's own
# objects, and in the reader's sum what numpy and zlib reserve.
MEMORY = 64 * 2**20 + 192 * 2**20
SECONDS = 20
# Every so many mutants of HDF5 files go through the package, with a process for each.
HDF5_SHARE = 16

NUMBERS = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, -1)
TEXTS = (
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"9" * 30,
    b"\\u0000",
    b"\n",
    b"\xff",
)


def mutated(data, rng):
    """One to four changes of some bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at = rng.randrange(len(data))
        length = min(rng.choice((1, 2, 4, 8, 16, 64, 512)), len(data) - at)
        kind = rng.randrange(10)
        if kind <= 2:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 4:
            width = rng.choice((2, 4, 8))
            number = rng.choice(NUMBERS) % 2 ** (8 * width)
            data[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 5:
            del data[at : at + length]
        elif kind == 6:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 7:
            other = rng.randrange(len(data))
            data[at : at + length] = data[other : other + length]
        elif kind == 8:
            data[at : at + rng.choice((0, 1, length))] = rng.choice(TEXTS)
        else:
            del data[at:]
    return bytes(data)


def zip_mutated(data, rng):
    """A zip archive of which one member is mutated, or the list of members."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    # The small members say what the others mean.
    at = rng.choice(
        [i for i, (n, c) in enumerate(members) if rng.random() < 0.2 or "." in n] or [0]
    )
    name, content = members[at]
    members[at] = (name, mutated(content, rng))
    if rng.random() < 0.1:
        del members[at]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def gzip_mutated(data, rng):
    """A gzipped tar archive, mutated before it is packed, at times with right checksums."""
    plain = bytearray(mutated(gzip.decompress(data), rng))
    if rng.random() < 0.7 and len(plain) > 512:
        header = plain[:512]
        header[148:156] = b" " * 8
        plain[148:156] = b"%06o\0 " % sum(header)
    return gzip.compress(bytes(plain), 1, mtime=0)


def table_mutated(data, rng):
    """A table of TensorFlow's with one of its blocks mutated in place and its checksum right."""
    from keras_inception import budget, protobuf
    from keras_inception.weights.readers import tf_table

    blocks, numbers, at = [], [], len(data) - 48
    for _ in range(4):
        number, at = protobuf.varint(data, at)
        numbers.append(number)
    view = memoryview(data)
    for _, handle in tf_table._block(view, *numbers[2:], budget.Budget.of(len(data))):
        offset, at = protobuf.varint(handle, 0)
        blocks.append((offset, protobuf.varint(handle, at)[0]))
    offset, size = rng.choice([*blocks, tuple(numbers[2:])])
    block = mutated(data[offset : offset + size], rng)[:size].ljust(size, b"\0")
    block += bytes([rng.choice((0, 0, 0, 1, 2))])
    crc = tf_table.masked_crc32c(memoryview(block)).to_bytes(4, "little")
    return data[:offset] + block + crc + data[offset + size + 5 :]


# What is inside of a file's checksums or compression, by the file's name.
WITHIN = {
    "torch.pth": zip_mutated,
    "model.keras": zip_mutated,
    "packed.zip": zip_mutated,
    "slim.tar.gz": gzip_mutated,
    "v1.ckpt": table_mutated,
    "v2.ckpt.index": table_mutated,
}
HDF5 = ("legacy.h5", "model.weights.h5", "model.keras")


def mutant(folder, number, names):
    """(name, bytes) of a mutant."""
    name = names[number % len(names)]
    rng = random.Random(f"{name} {number}")
    data = (folder / name).read_bytes()
    if name in WITHIN and rng.random() < 0.6:
        return name, WITHIN[name](data, rng)
    return name, mutated(data, rng)


def complaint(read, path, result_of):
    """What is wrong with how a mutant was read; empty if nothing is."""
    try:
        arrays = list(result_of(read(path)))
    except (ValueError, OSError) as error:
        text = str(error)
        wrong = [
            what
            for what, is_so in {
                f"an error of type {type(error).__name__}": type(error).__name__
                not in ("Refused", "FileNotFoundError"),
                "no file's name": path.name.partition(".")[0] not in text,
                "another file's name": "/tmp" in text.replace(str(path.parent), ""),
                "several lines": not text.isprintable(),
                "memory": "MemoryError" in text or "allocate" in text,
                "no words": "Error cannot" in text or len(text) < len(str(path)) + 10,
                "a long message": len(text) > 1100,
            }.items()
            if is_so
        ]
        return f"{', '.join(wrong)}: {text}" if wrong else ""
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    bad = [n for n, array in arrays if not np.isfinite(np.asarray(array, float)).all()]
    return f"loaded with {bad}" if bad else ""


def limit_memory():
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def package_readers():
    """The package's functions that read a file, with how their results give arrays."""
    import keras_inception.weights
    from keras_inception.weights import readers

    def arrays(contents):
        for layer, variables in contents.layers.items():
            yield from ((f"{layer}/{name}", array) for name, array in variables.items())

    return [(readers.read, arrays), (keras_inception.weights.read, lambda w: w.arrays.items())]


def main(folder, place, first, last):
    folder, place = Path(folder), Path(place)
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and ".data-" not in p.name)
    hdf5 = [name for name in names if name in HDF5]
    functions = package_readers()
    for shard in folder.glob("*.data-*"):
        shutil.copy(shard, place)
    limit_memory()
    for number in range(first, last):
        name, data = mutant(folder, number, names)
        if name in hdf5 and number // len(names) % HDF5_SHARE:
            continue
        print(number, name, flush=True)
        path = place / name
        path.write_bytes(data)
        given = path.with_name("v2.ckpt") if "v2" in name else path
        for read, result_of in functions:
            # Processor time, so that a busy machine changes nothing; the signal ends the process.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            wrong = complaint(read, given, result_of)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if wrong:
                print(json.dumps({"number": number, "name": name, "wrong": wrong}), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
