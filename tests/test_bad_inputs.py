"""More than a hundred named mistakes, each through the command itself: one message, its exit code, and nothing lost."""
from __future__ import annotations
import hashlib, io, sys, time
from pathlib import Path
import pytest
from headway.cli.app import run
from tests.bad_data import DATA, ACCEPTED
from tests.bad_inputs import MODELS, RECIPES, RUNS, BadInput

@pytest.mark.parametrize("bad", [*RECIPES, *DATA, *MODELS, *RUNS, *ACCEPTED], ids=lambda bad: bad.name)
def test_explore(bad, tiny_bert, tmp_path, monkeypatch, capsys, request):
    finished = request.getfixturevalue("finished_run") if bad.needs_run else None
    monkeypatch.chdir(tmp_path)
    bad.write(tmp_path, backbone=tiny_bert, run=finished)
    import huggingface_hub.constants
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bad.standard_input)))
    before = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    start = time.time()
    code = run(bad.command)
    took = time.time() - start
    out, err = capsys.readouterr()
    after = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    ok = code == bad.exit_code and all(s in err + out for s in bad.says) and before == after
    with open("/tmp/explore.txt", "a") as f:
        f.write(f"\n=== {'ok' if ok else 'BAD'} {bad.name} code {code} (want {bad.exit_code}) {took:.2f}s new {sorted(after-before)} gone {sorted(before-after)}\n")
        f.write(f"missing: {[s for s in bad.says if s not in err + out]}\n")
        f.write(err.replace(str(tmp_path), 'TMP')[:3000] + ("\n--- out\n" + out[:1500] if out else ""))
