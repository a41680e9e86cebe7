"""Rules of this repository that a program can check: sizes, names, tests beside modules, and no unsafe calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headway"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
FILES = sorted(path for folder in ("src", "tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
MAX_LINES = 400
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "tools"}

# The one place that may let transformers read a model.
MAY_LOAD_MODELS = {"models/safe_loading.py"}
# A name of the user is imported here, and one of our own names from a fixed list.
MAY_IMPORT_BY_NAME = {"importing.py", "__init__.py"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_found() -> None:
    assert len(MODULES) > 50
    assert len(FILES) > len(MODULES)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=relative)
def test_a_module_opens_with_its_place(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_name_is_vague(path: Path) -> None:
    assert not VAGUE & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_has_its_test(path: Path) -> None:
    name = path.relative_to(SOURCE)
    own = ROOT / "tests" / name.parent / f"test_{name.name}"
    assert own.is_file(), f"expected {relative(own)}"
    assert "def test_" in own.read_text(encoding="utf-8")


# --- no unsafe call ---------------------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_NAMES = {"eval", "exec", "__import__"}
FORBIDDEN_METHODS = {"extractall", "system", "popen", "read_pickle", "to_pickle"}


def unsafe(code: str, *, name: str = "module.py") -> list[str]:
    """Return what is unsafe in a module, each with its line."""
    return [f"line {line}: {what}" for line, what in _unsafe(ast.parse(code), name)]


def _unsafe(tree: ast.AST, name: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.partition(".")[0] in FORBIDDEN_MODULES:
                    yield node.lineno, f"import of {module}"
            if isinstance(node, ast.ImportFrom):
                for one in node.names:
                    if (node.module, one.name) in {("torch", "load"), ("yaml", "load"), ("os", "system")}:
                        yield node.lineno, f"{node.module}.{one.name} under a name of its own"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _unsafe_call(node, name))


def _unsafe_call(call: ast.Call, name: str) -> Iterator[str]:
    function = ast.unparse(call.func)
    last = function.rpartition(".")[2]
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if function in FORBIDDEN_NAMES:
        yield function
    if isinstance(call.func, ast.Attribute) and last in FORBIDDEN_METHODS:
        yield function
    if function in ("torch.load", "torch.hub.load") and given.get("weights_only") != "True":
        yield f"{function} without weights_only=True"
    if last == "from_pretrained" and name not in MAY_LOAD_MODELS:
        yield f"{function} outside {', '.join(MAY_LOAD_MODELS)}"
    if last == "from_pretrained" and given.get("trust_remote_code", "absent") not in ("trust_remote_code", "False"):
        yield f"{function} that does not say trust_remote_code"
    if last == "import_module" and name not in MAY_IMPORT_BY_NAME:
        yield f"{function} outside {', '.join(MAY_IMPORT_BY_NAME)}"
    if function.startswith("yaml.") and last in ("load", "load_all") and given.get("Loader") != "_Loader":
        yield f"{function} without the loader of headway.yaml_text"
    if function.startswith("yaml.") and last.startswith(("unsafe_", "full_")):
        yield function
    if given.get("shell", "False") != "False":
        yield "shell=True"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle=True"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=relative)
def test_nothing_unsafe_is_called(path: Path) -> None:
    assert not unsafe(path.read_text(encoding="utf-8"), name=str(path.relative_to(SOURCE)))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import cloudpickle as safe",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=choice)",
        "from torch import load",
        "torch.hub.load('owner/name', 'model')",
        "AutoModel.from_pretrained(folder, trust_remote_code=False)",
        "importlib.import_module(name)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "yaml.full_load(text)",
        "from yaml import load",
        "archive.extractall(folder)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=chosen)",
        "os.system(command)",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
    ],
)
def test_an_unsafe_call_would_be_found(code: str) -> None:
    assert unsafe(code)


def test_the_loading_module_must_say_whether_code_may_run() -> None:
    assert unsafe("AutoModel.from_pretrained(folder)", name="models/safe_loading.py")
    assert unsafe("AutoModel.from_pretrained(folder, trust_remote_code=True)", name="models/safe_loading.py")


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path, weights_only=True)",
        "yaml.load(text, Loader=_Loader)",
        "yaml.safe_load(text)",
        "model.eval()",
        "subprocess.run(command)",
    ],
)
def test_a_safe_call_passes(code: str) -> None:
    assert not unsafe(code)
