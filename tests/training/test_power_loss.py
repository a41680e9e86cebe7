"""What a loss of power leaves: every prefix of the system calls of a save holds the old checkpoint or the new one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAVES = """
import sys, torch
from headway.training.checkpoint import WholeCheckpointIO
print(flush=True)
for step in (1, 2):
    WholeCheckpointIO().save_checkpoint({"global_step": step, "weights": torch.ones(1000) * step}, sys.argv[1])
"""
CALL = re.compile(r"(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")


def calls_of_saves(checkpoint: Path, log: Path) -> list[tuple[str, str, str]]:
    """Return (call, path, new path) of what two saves of one checkpoint did in its folder."""
    names = "openat,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
    traced = ["strace", "-f", "-y", "-s", "0", "--seccomp-bpf", "-e", f"trace={names}", "-o", str(log)]
    subprocess.run([*traced, sys.executable, "-c", SAVES, str(checkpoint)], check=True, capture_output=True)
    found = []
    for line in log.read_text().splitlines():
        match = CALL.match(line)
        if match is None or int(match["result"]) < 0 or str(checkpoint.parent) not in match["arguments"]:
            continue
        paths = re.findall(r'["<](/[^">]+)[">]', match["arguments"])
        chosen = [path for path in paths if path.startswith(str(checkpoint.parent))]
        found.append((match["name"], chosen[0], chosen[-1]))
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_content_is_on_the_disk_before_its_name_and_its_name_before_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    calls = calls_of_saves(folder / "resume-00000001.ckpt", tmp_path / "trace.txt")
    renames = [(place, one) for place, one in enumerate(calls) if one[0].startswith("rename")]
    # Checkpoint and seal, twice.
    assert [Path(new).suffix for _, (_, _, new) in renames] == [".ckpt", ".json", ".ckpt", ".json"]
    for place, (_, old, _) in renames:
        touched = [number for number, one in enumerate(calls[:place]) if one[1] == old]
        # The last that was done to the file is that it was flushed; nobody wrote to it after.
        assert calls[touched[-1]][0] in ("fsync", "fdatasync")
        assert any(calls[number][0] == "write" for number in touched)
        # Then its name is flushed, before anything else is begun: a seal never lies on the disk without its checkpoint.
        after = [one for one in calls[place + 1 :] if one[0] not in ("openat",)]
        assert (after[0][0], after[0][1]) == ("fsync", str(folder))
    # The seal goes before the checkpoint that it speaks of is replaced.
    second = renames[2][0]
    assert any(name.startswith("unlink") and path.endswith(".json") for name, path, _ in calls[:second])
