"""Rows for people: lines in a terminal, or a Markdown table with the machine above it."""

import os
import platform
from pathlib import Path

from benchmarks.measure import Row


class Lines:
    """Aligned columns."""

    def __init__(self) -> None:
        print(f"{'':<36}{'podnet':>12}{'peer':>12}{'ratio':>8}  samples")

    def print(self, one: Row) -> None:
        """Print a row."""
        if one.note:
            print(f"{one.name:<36}{one.note}", flush=True)
            return
        peer = f"{'':>20}"
        if one.peer_ms is not None and one.ratio is not None:
            peer = f"{one.peer_ms:>9.2f} ms{one.ratio:>8.2f}"
        bound = f"  {one.bound_ms:.2f} ms {one.bound}" if one.bound_ms is not None else ""
        line = f"{one.name:<36}{one.ours_ms:>9.2f} ms{peer}  {one.samples}  {one.peer}{bound}"
        print(line.rstrip(), flush=True)


class Markdown:
    """A table, below what it was measured on."""

    def __init__(self, count: int) -> None:
        print(f"{_machine()}; medians of at least {count}.\n")
        print("| | podnet ms | peer ms | ratio | bound ms | what bounds it |")
        print("| --- | --: | --: | --: | --: | --- |")

    def print(self, one: Row) -> None:
        """Print a row."""
        if one.note:
            print(f"| {one.name} | | | | | {one.note} |", flush=True)
            return
        numbers = (one.ours_ms, one.peer_ms, one.ratio, one.bound_ms)
        cells = ["" if number is None else f"{number:.2f}" for number in numbers]
        print(f"| {one.name} | {' | '.join(cells)} | {one.bound} |", flush=True)


def _machine() -> str:
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpus if "model name" in line), "CPU")
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} CPUs, {model}, Linux {platform.release()}, {python}"
