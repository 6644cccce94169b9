"""What ptxas makes of the kernels: registers, spills, and how many instructions a block of 64 bytes costs in a loop."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.driver.toolchain import Toolchain

COMPRESSION_MIN = 672
"""Of one compression, by hand: 7 rounds of 8 quarters, each of 4 additions, 4 xors and 4 rotations. 8 xors end it."""
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_REGISTERS = re.compile(r"Used (\d+) registers")
_LABEL = re.compile(r"^(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+)?\s*([A-Z][\w.]*)\s*(.*?);")
_TARGET = re.compile(r"\.L_x_\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One kernel for one architecture."""

    registers: int
    spill_bytes: int
    """Stack, stores and loads."""
    loop: int | None
    """Instructions for one full block on the shortest way around its main loop; None where it has none."""


@dataclass(slots=True)
class _Block:
    """Straight code. after: labels it may go on to."""

    count: int = 0
    loads: bool = False
    """From the device's memory."""
    after: list[str] = field(default_factory=list)


def listing(chain: Toolchain, ptx: Path, architecture: str, folder: Path, *flags: str) -> tuple[str, str]:
    """What ptxas says with -v, and the instructions it made. flags: of ptxas. Raises: subprocess.CalledProcessError."""
    cubin = folder / f"sm_{architecture}.cubin"
    command = [str(chain.tool("ptxas")), "-v", *flags, f"-arch=sm_{architecture}", "-o", str(cubin), str(ptx)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return said, subprocess.run(
        [str(chain.tool("nvdisasm")), "-c", str(cubin)], capture_output=True, text=True, check=True
    ).stdout


def compiled(chain: Toolchain, ptx: Path, architecture: str, folder: Path, *flags: str) -> dict[str, Compiled]:
    """By kernel. Arguments as `listing`."""
    said, instructions = listing(chain, ptx, architecture, folder, *flags)
    found = {}
    for part in re.split(r"(?=Compiling entry function)", said)[1:]:
        entry, spills, registers = _ENTRY.search(part), _SPILLS.search(part), _REGISTERS.search(part)
        assert entry is not None, part
        assert spills is not None, part
        assert registers is not None, part
        name = entry[1]
        found[name] = Compiled(
            registers=int(registers[1]), spill_bytes=sum(map(int, spills.groups())), loop=loop_cost(instructions, name)
        )
    return found


def loop_cost(listing: str, kernel: str) -> int | None:
    """Of all ways around a loop of the kernel, the fewest instructions that load from memory and compress."""
    blocks = _blocks(listing, kernel)
    order = {label: i for i, label in enumerate(blocks)}
    costs = [cost for head in blocks for cost, loads in _ways(blocks, order, head) if loads and cost >= COMPRESSION_MIN]
    return min(costs, default=None)


def _ways(blocks: dict[str, _Block], order: dict[str, int], head: str) -> set[tuple[int, bool]]:
    """Cost, and whether it loads, of the ways from `head` forward and back to it."""
    costs: dict[str, set[tuple[int, bool]]] = {head: {(blocks[head].count, blocks[head].loads)}}
    closed: set[tuple[int, bool]] = set()
    for label in list(blocks)[order[head] :]:
        for after in blocks[label].after:
            if after == head:
                closed |= costs.get(label, set())
            elif order.get(after, -1) > order[label]:
                next_ = blocks[after]
                ways = {(cost + next_.count, loads or next_.loads) for cost, loads in costs.get(label, set())}
                costs.setdefault(after, set()).update(ways)
    return closed


def _blocks(listing: str, kernel: str) -> dict[str, _Block]:
    """Straight pieces of a kernel's code, in the order of addresses."""
    section = listing.split(f".text.{kernel}:\n", 1)[1].split("//-----", 1)[0]
    blocks: dict[str, _Block] = {"begin": (block := _Block())}
    fresh = 0
    for line in section.splitlines():
        label, instruction = _LABEL.match(line), _INSTRUCTION.match(line)
        if label:
            block.after.append(label[1])
            block = blocks[label[1]] = _Block()
        elif instruction:
            guard, name, rest = instruction.groups()
            block.count += 1
            block.loads = block.loads or name.startswith("LDG")
            jumps = name.startswith(("BRA", "EXIT", "BRX", "RET"))
            if jumps:
                if target := _TARGET.search(rest):
                    block.after.append(target[0])
                fresh += 1
                if guard or ("P" in rest.split("`")[0] and name.startswith("BRA")):
                    block.after.append(f"after-{fresh}")
                block = blocks[f"after-{fresh}"] = _Block()
    return blocks
