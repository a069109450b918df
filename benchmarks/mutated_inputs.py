"""Open thousands of damaged files: a typed error or a valid case every time, and soon.

Each input is a small valid file of some format with bytes flipped, cut, repeated, inserted or
numbers forged. It is opened as a user opens it, every case is read, and either a ``DataError`` is
raised (with a message that holds no path) or every case passes ``check_case``. Everything else is
a failure: another exception, a crash, a hang, output on the terminal. Inputs run in processes of
their own, which are watched and replaced; the number of an input repeats it:

    python benchmarks/mutated_inputs.py --count 10000 --seed 0 --json
    python benchmarks/mutated_inputs.py --only 1234
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
WORDS = (
    b"-1",
    b"0",
    b"99999999999",
    b"1e308",
    b"nan",
    b'""',
    b"null",
    b"[]",
    b"{}",
    b"\0",
    b"\xff",
)


@dataclass
class Outcome:
    """What became of one input.

    Attributes:
        number: Repeats the input, with the same seed and formats.
        sample: Name of the valid file.
        mutation: What was done to it.
        result: ``case``, the kind of a ``CaseError``, ``DataError``, or ``failure``.
        seconds: Time to open it and to read every case.
        detail: Where a failure came from.
    """

    number: int
    sample: str
    mutation: str
    result: str
    seconds: float
    detail: str = ""


def mutate(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damage content in one to three ways."""
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(tuple(_MUTATIONS))
        data = _MUTATIONS[name](data, rng)
        names.append(name)
    return data, "+".join(names)


def _place(data: bytes, rng: random.Random) -> int:
    """Somewhere, with a liking for the beginning, where headers are."""
    limit = len(data) if rng.random() < 0.5 else min(len(data), 1024)
    return rng.randrange(limit) if limit else 0


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 32)) if out else 0):
        out[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 16)) if out else 0):
        out[_place(data, rng)] = rng.randrange(256)
    return bytes(out)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] if data else data


def _forge(data: bytes, rng: random.Random) -> bytes:
    """Put a large, negative or zero number of 2, 4 or 8 bytes somewhere."""
    at, size = _place(data, rng), rng.choice((2, 4, 8))
    number = rng.choice(EXTREMES) % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 16, 500))) + data[at:]


def _remove(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((4, 64, 1000))
    return data[: at + size] + data[at : at + size] * rng.choice((1, 3)) + data[at + size :]


def _word(data: bytes, rng: random.Random) -> bytes:
    """Replace a number or a quoted text of a text file, or of a header made of text."""
    found = list(re.finditer(rb'-?\d+(?:\.\d+)?|"[^"\n]{0,40}"', data[:65536]))
    if not found:
        return _forge(data, rng)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(WORDS) + data[one.end() :]


_MUTATIONS = {
    "flip": _flip,
    "bytes": _bytes,
    "cut": _cut,
    "forge": _forge,
    "insert": _insert,
    "remove": _remove,
    "repeat": _repeat,
    "word": _word,
}


def run_one(number: int, seed: int, made: list[Any], root: Path, keep: Path | None) -> Outcome:
    """Make input `number`, open it, and say what became of it."""
    from benchmarks.mutated_samples import unpacked

    rng = random.Random(f"{seed}/{number}")
    sample = rng.choice(made)
    content, packed = unpacked(sample.files[sample.target], sample.packed)
    damaged, mutation = mutate(content, rng)
    folder = (keep or root) / f"{number}"
    for name, data in (sample.files | {sample.target: packed(damaged)}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    began = time.perf_counter()
    result, detail = _open(folder / sample.source, sample.how, str(root))
    seconds = time.perf_counter() - began
    if keep is None:
        _remove_tree(folder)
    return Outcome(number, sample.name, mutation, result, round(seconds, 4), detail)


def _remove_tree(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _open(path: Path, how: str, secret: str) -> tuple[str, str]:
    """What opening gives; every exception but the package's own is a failure."""
    from data_adapters.errors import CaseError, DataError

    try:
        return "case", _read(path, how)
    except CaseError as error:
        result, text = error.kind, str(error)
    except DataError as error:
        # An error about the whole delivery goes to the user who named the path.
        result, text = type(error).__name__, str(error).replace(str(path), "")
    except BaseException as error:  # whatever it is, it is what is looked for here
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return "failure", "".join(traceback.format_exception(error)[-4:])
    return ("failure", f"a path in: {text}") if secret in text else (result, "")


def _read(path: Path, how: str) -> str:
    import data_adapters
    from data_adapters.case import check_case
    from data_adapters.errors import CaseError

    if how == "seg":
        from data_adapters.dicom.seg import read_seg

        read = read_seg(path, case_id="c0")
        for k in range(len(read.segments)):
            read.array(k)
        return ""
    if how in ("rtstruct", "sr"):
        from data_adapters.dicom.rtstruct import read_rtstruct
        from data_adapters.dicom.sr import read_sr

        (read_rtstruct if how == "rtstruct" else read_sr)(path, case_id="c0")
        return ""
    opener = data_adapters.open_files if how == "files" else data_adapters.open
    adapter = opener(path)
    first: CaseError | None = None
    for i in range(len(adapter)):
        try:
            check_case(adapter[i])
        except CaseError as error:
            first = first or error
    if first is not None:
        raise first
    return ""


def work(seed: int, formats: frozenset[str] | None, keep: Path | None) -> None:
    """Answer numbers on standard input with outcomes, one JSON line each."""
    import resource

    from benchmarks.mutated_samples import samples

    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as root:
        os.environ["RADZOO_HOME"] = str(Path(root) / "home")
        made = samples(formats)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        print(json.dumps({"ready": len(made)}), file=answers, flush=True)
        for line in sys.stdin:
            outcome = run_one(int(line), seed, made, Path(root), keep)
            sys.stdout.flush()
            sys.stderr.flush()
            if said.tell() and outcome.result != "failure":
                said.seek(0)
                text = said.read(400).decode("utf-8", "replace")
                outcome.result, outcome.detail = "failure", f"printed: {text}"
            said.seek(0)
            said.truncate()
            usage = [resource.getrusage(who).ru_maxrss for who in (0, -1)]
            print(json.dumps([asdict(outcome), usage]), file=answers, flush=True)


class Watched:
    """A process that opens inputs, and is replaced when it crashes or hangs."""

    def __init__(self, arguments: list[str], seconds: float) -> None:
        self.arguments, self.seconds = arguments, seconds
        self.peak, self.process = [0, 0], self._start()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--worker", *self.arguments]
        environment = {**os.environ, "RADZOO_WORKERS": "1"}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.lines: Queue[str] = Queue()

        def pump(lines: Queue[str]) -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(line)
            lines.put("")

        threading.Thread(target=pump, args=(self.lines,), daemon=True).start()
        if not self.lines.get(timeout=300):
            raise SystemExit("the samples cannot be made")
        return process

    def ask(self, number: int) -> Outcome:
        """The outcome of one input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        try:
            line = self.lines.get(timeout=self.seconds)
        except Empty:
            line = None
        if line:
            content, usage = json.loads(line)
            self.peak = [max(a, b) for a, b in zip(self.peak, usage, strict=True)]
            return Outcome(**content)
        self.process.kill()
        code = self.process.wait()
        self.process = self._start()
        what = f"took longer than {self.seconds:g} s" if line is None else f"crashed ({code})"
        return Outcome(number, "", "", "failure", self.seconds if line is None else 0.0, what)

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def run(count: int, arguments: list[str], *, seconds: float, processes: int, first: int) -> dict:
    """Open inputs `first` to `first + count - 1` and gather what became of them."""
    numbers: Queue[int] = Queue()
    for number in range(first, first + count):
        numbers.put(number)
    outcomes: list[Outcome] = []
    watched = [Watched(arguments, seconds) for _ in range(processes)]

    def serve(one: Watched) -> None:
        while True:
            try:
                number = numbers.get_nowait()
            except Empty:
                return
            outcomes.append(one.ask(number))

    began = time.perf_counter()
    threads = [threading.Thread(target=serve, args=(one,)) for one in watched]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in watched:
        one.end()
    outcomes.sort(key=lambda outcome: outcome.number)
    slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:5]
    return {
        "count": len(outcomes),
        "seconds": round(time.perf_counter() - began, 1),
        "samples": len({outcome.sample for outcome in outcomes}),
        "results": dict(Counter(outcome.result for outcome in outcomes).most_common()),
        "slowest": [asdict(outcome) for outcome in slowest],
        "peak_mib": {
            "process": max(one.peak[0] for one in watched) // 1024,
            "worker": max(one.peak[1] for one in watched) // 1024,
        },
        "failures": [asdict(outcome) for outcome in outcomes if outcome.result == "failure"],
    }


def main() -> int:
    """Run from the command line; 1 when there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, help="run this one input here, and keep its files")
    parser.add_argument("--formats", help="such as dicom,nifti,png,json; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="longest time for one input")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    formats = frozenset(given.formats.split(",")) if given.formats else None
    from benchmarks.mutated_samples import FORMATS, samples

    if formats is not None and formats - set(FORMATS):
        parser.error(f"unknown format in {given.formats}; known: {', '.join(FORMATS)}")
    if given.worker:
        work(given.seed, formats, None)
        return 0
    if given.only is not None:
        keep = Path(tempfile.mkdtemp(prefix="mutated-"))
        outcome = run_one(given.only, given.seed, samples(formats), keep, keep)
        print(json.dumps(asdict(outcome) | {"files": str(keep)}, indent=2))
        return int(outcome.result == "failure")
    arguments = ["--seed", str(given.seed), *(["--formats", given.formats] if formats else [])]
    found = run(
        given.count,
        arguments,
        seconds=given.seconds,
        processes=given.processes,
        first=given.first,
    )
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            print(f"{key}: {value}")
    return int(bool(found["failures"]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
