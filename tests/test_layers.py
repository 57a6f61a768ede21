"""The picture in docs/architecture.md is true: a stage imports only what stands above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "workflow_scripts"
# Lowest first; the files that lie in the package itself are below every folder.
LAYERS = [
    "suite",
    "storage",
    "pocket",
    "dataset",
    "training",
    "checkpoints",
    "evaluation",
    "published",
    "experiments",
    "report",
    "provenance",
    "workflow",
]
FORBIDDEN_CALLS = (
    "os.system",
    "shell=True",
    "weights_only=False",
    "trust_remote_code=True",
    "allow_pickle=True",
    "pickle.load",
)


def imported_stages(path):
    """Stages that the module at ``path`` imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            parts = module.split(".")
            if parts[0] == "workflow_scripts" and len(parts) > 1 and parts[1] in LAYERS:
                yield parts[1]


@pytest.mark.parametrize("stage", LAYERS)
def test_no_stage_imports_a_later_one(stage):
    allowed = set(LAYERS[: LAYERS.index(stage) + 1])
    wrong = {
        f"{path.relative_to(ROOT)} imports {other}"
        for path in (PACKAGE / stage).rglob("*.py")
        for other in imported_stages(path)
        if other not in allowed
    }
    assert not wrong


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path, known):
    """Modules of ``known`` that ``path`` imports, in its functions too, also as ``from folder import module``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((name if name in known else node.module) for name in names if {name, node.module} & known)


def circle_in(imports):
    """Modules of one circle in ``imports`` (imported modules by module), in import order; none where there is none."""
    finished, path = set(), []

    def search(module):
        if module in path:
            return path[path.index(module) :]
        if module in finished:
            return []
        path.append(module)
        for other in sorted(imports[module]):
            if circle := search(other):
                return circle
        finished.add(path.pop())
        return []

    return next((circle for module in sorted(imports) if (circle := search(module))), [])


def test_a_circle_is_found():
    assert circle_in({"a": {"b", "d"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other():
    names = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    circle = circle_in({name: set(imported_modules(path, names.keys())) - {name} for name, path in names.items()})
    assert not circle, " imports ".join([*circle, circle[0]])


def test_suite_imports_no_other_stage():
    assert {other for path in (PACKAGE / "suite").rglob("*.py") for other in imported_stages(path)} <= {"suite"}


def test_the_base_modules_import_no_stage():
    for path in PACKAGE.glob("*.py"):
        assert not list(imported_stages(path)), path


def test_every_stage_is_listed_here_and_in_the_architecture():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(LAYERS)
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"`{stage}/`" in text for stage in LAYERS)


@pytest.mark.parametrize("call", FORBIDDEN_CALLS)
def test_calls_that_could_run_foreign_code_are_nowhere(call):
    used = [str(path) for path in PACKAGE.rglob("*.py") if call in path.read_text(encoding="utf-8")]
    assert not used


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "lm_eval"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import workflow_scripts.report.draw, workflow_scripts.report.build
"""


def test_figures_and_report_are_made_where_torch_is_not_installed():
    """The published figures are drawn from the lock `base` alone, as on a Python that torch has no wheel for."""
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True, cwd=ROOT, timeout=300)


def test_files_stay_short():
    long = {path.name: lines for path in PACKAGE.rglob("*.py") if (lines := len(path.read_text().splitlines())) > 500}
    assert not long
