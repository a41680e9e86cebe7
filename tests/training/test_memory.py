from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from headway.models.precision import has_bfloat16
from headway.training import memory

IS_GNU = platform.libc_ver()[0] == "glibc"

FAULTS = """
import resource, sys, torch
from headway.training.memory import keep_freed_memory
torch.set_num_threads(1)
kept = sys.argv[1] == "keep" and keep_freed_memory()
torch.zeros(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not IS_GNU, reason="another C library keeps memory in its own way")
def test_memory_is_not_asked_for_again() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("keep", "free")
    }
    assert faults["keep"] < faults["free"] / 2


GAPS = """
import psutil
from headway.training.memory import give_back_memory, keep_freed_memory
keep_freed_memory()
blocks = [bytearray(100_000) for _ in range(1000)]
# What is freed lies between what is held.
held = blocks[::10]
del blocks
before = psutil.Process().memory_info().rss
give_back_memory()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(not IS_GNU, reason="another C library keeps memory in its own way")
def test_memory_between_what_is_held_is_given_back() -> None:
    found = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, check=True)
    assert int(found.stdout) > 50_000_000


# What is held at the end: a process inherits its parent's peak.
PRODUCTS = """
import psutil, sys, torch
from headway.training.memory import keep_few_products
torch.set_num_threads(1)
if sys.argv[1] == "few":
    keep_few_products()
linear = torch.nn.Linear(256, 256).bfloat16()
for number in range(1, 400):
    linear(torch.zeros(number, 256, dtype=torch.bfloat16)).sum().backward()
print(psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="this processor has no bfloat16")
@pytest.mark.parametrize("name", memory._CAPACITIES)
def test_few_prepared_products_are_kept(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in memory._CAPACITIES}

    def memory_of(how: str, **settings: str) -> int:
        command = [sys.executable, "-c", PRODUCTS, how]
        return int(subprocess.run(command, env=environment | settings, capture_output=True, check=True).stdout)

    few = memory_of("few")
    assert few < memory_of("all") - 10_000_000
    # Who has set it has decided.
    assert memory_of("few", **{name: "1024"}) > few + 5_000_000


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_freed_memory()
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
