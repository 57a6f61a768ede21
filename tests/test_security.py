"""What docs/security.md promises: calls that could run foreign code are nowhere, and its pointers lead to tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = [
    *sorted((ROOT / "workflow_scripts").rglob("*.py")),
    ROOT / "bootstrap.py",
    ROOT / "envs" / "compile_locks.py",
]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
# Functions that run what they are given, or load what can.
NEVER = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execl", "os.spawnl", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load", "joblib.load",
    "pd.read_pickle", "pandas.read_pickle", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "tempfile.mktemp",
    "subprocess.getoutput", "subprocess.getstatusoutput", "shutil.unpack_archive", "ssl._create_unverified_context",
    "importlib.reload", "runpy.run_path", "torch.hub.load", "codeop.compile_command",
}  # fmt: skip
# Arguments that switch a protection off.
SWITCHES = {"shell": True, "trust_remote_code": True, "allow_pickle": True, "weights_only": False, "verify": False}
# Programs that run code which their user named: a function of one's own for an intervention, the cells of a notebook.
OWN_CODE = {
    "workflow_scripts/experiments/bias/rewrite.py": ("exec_module",),
    "workflow_scripts/report/notebook.py": ("exec", "eval", "compile"),
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file with the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str, object]:
    """Arguments of a call that are given by name and written out."""
    return {word.arg: word.value.value for word in call.keywords if word.arg and isinstance(word.value, ast.Constant)}


def faults(path: Path) -> Iterator[str]:
    """What a file does that it must not."""
    for name, call in calls(path):
        given = keywords(call)
        where = f"{path.name}:{call.lineno}: {name}"
        if name in NEVER or name.endswith((".extractall", ".exec_module")):
            yield where
        yield from (f"{where}({key}={value})" for key, value in SWITCHES.items() if given.get(key) is value)
        if name == "torch.load" and given.get("weights_only") is not True:
            yield f"{where} without weights_only=True"
        if name == "yaml.load" and "StrictLoader" not in ast.unparse(call):
            yield f"{where} without the strict loader"
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") is not False:
            yield f"{where} without allow_pickle=False"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_program_runs_what_it_reads(path: Path) -> None:
    found = list(faults(path))
    allowed = OWN_CODE.get(str(path.relative_to(ROOT)), ())
    assert [each for each in found if not each.endswith(allowed or ("(nothing)",))] == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)", "os.system('x')", "subprocess.run('x', shell=True)", "torch.load(p)", "yaml.load(t)",
        "torch.load(p, weights_only=False)", "yaml.load(t, Loader=yaml.Loader)", "np.load(p)", "archive.extractall()",
        "np.load(p, allow_pickle=True)", "pickle.loads(b)", "client.get(u, verify=False)", "tempfile.mktemp()",
        "AutoModel.from_pretrained(p, trust_remote_code=True)", "specification.loader.exec_module(module)",
    ],
)  # fmt: skip
def test_each_forbidden_call_is_seen(code: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(code)
    assert list(faults(tmp_path / "x.py"))


def test_what_is_allowed_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\n"
        "yaml.load(t, Loader=StrictLoader)\nre.compile('x')\n"
    )
    assert list(faults(tmp_path / "x.py")) == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_runs_python_of_its_own_or_switches_protection_off(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("script:", "notebook:", "run:", "wrapper:", "cwl:", "checkpoint ", "os.system", "eval(", "exec("):
        assert not re.search(rf"(?m)^\s*{re.escape(word)}\s*$|\bos\.system|\beval\(|\bexec\(", text), word
    assert not re.search(r"\bshell\(", text), "a shell command inside Python of a rule"


def shell_texts(rules: str) -> Iterator[str]:
    """The text below each ``shell:`` of a rules file."""
    for found in re.finditer(r"(?m)^(?P<indent> *)shell:(?P<text>.*(?:\n(?:(?P=indent) +.*)?)*)", rules):
        yield found["text"]


def unquoted(rules: str) -> list[str]:
    """Fields of shell commands that reach the shell as they are; ``{threads}`` is a number that Snakemake counted."""
    fields = (field for text in shell_texts(rules) for field in re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", text))
    return [field for field in fields if not field.endswith(":q") and field != "threads"]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_field_of_a_shell_command_is_quoted(path: Path) -> None:
    assert unquoted(path.read_text(encoding="utf-8")) == []


def test_a_field_that_is_not_quoted_is_seen() -> None:
    rules = """
rule one:
    params:
        folder=lambda wildcards: f"a/{wildcards.model}",
    shell:
        "run {wildcards.model} {input.x:q} {threads}"
        " {params.list} {resources.gpu} {output} > {log:q}"

rule two:
    shell: "run {config[x]}"
"""
    assert unquoted(rules) == ["wildcards.model", "params.list", "resources.gpu", "output", "config[x]"]


WORDS_OF_A_VOCABULARY = {("look_up.py", "--token"), ("tasks.py", "--prefix-token")}


def test_no_program_takes_a_secret_as_an_argument() -> None:
    """Arguments are seen by every user of a machine."""
    asked = [
        f"{path.name}: {argument.value}"
        for path in PROGRAMS
        for name, call in calls(path)
        if name.endswith("add_argument")
        for argument in call.args
        if isinstance(argument, ast.Constant)
        and (path.name, argument.value) not in WORDS_OF_A_VOCABULARY
        and re.fullmatch(r"--?(.*-)?(token|password|secret)", str(argument.value))
    ]
    assert asked == []


def test_tokens_are_read_in_one_place() -> None:
    def readers(matches: Callable[[str], bool]) -> set[str]:
        return {path.name for path in PROGRAMS for name, _ in calls(path) if matches(name)}

    assert readers(lambda name: name == "get_token") == {"hub.py"}
    assert not [
        path for path in PROGRAMS if re.search(r"environ[\[.(][^\n]*HF_TOKEN", path.read_text(encoding="utf-8"))
    ]


def test_every_pointer_of_the_security_page_leads_somewhere() -> None:
    """Files are there, and so are the tests that are named with a file."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    pointers = re.findall(r"`((?:tests|workflow_scripts|rules|envs|docs)/[\w./-]+?)(?:::(\w+))?`", text)
    assert len(pointers) > 20
    for file, test in pointers:
        assert (ROOT / file).exists(), file
        assert not test or f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("name", ["base.lock", "torch-cpu.lock", "dev.lock", "slurm.lock"])
def test_locks_hold_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / "envs" / name).read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert not re.search(r"(?m)^\s*(--(index|extra-index)-url|-i |.*@ (https?|git))", text)
