"""Numbers and texts of configurations: written one way only, and read the same by our reader and by Snakemake's."""

import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.safe_yaml import parse_yaml


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *(("010", "8"), ("0777", "511"), ("1_0", "10"), ("1:30", "90"), ("0x1F", "31"), ("0b11", "3"), ("-010", "-8")),
        *(("1_0.5", "10.5"), ("1:30.5", "90.5")),
    ],
)
def test_numbers_in_another_notation_are_refused_with_their_line(written, read):
    for text in (f"a: 1\nb: [{written}]\n", f"a: 1\n{written}: b\n"):
        with pytest.raises(ConfigError, match=f"^x.yaml: line 2: YAML reads {written} as {read}; write the number"):
            parse_yaml(text, "x.yaml")


@pytest.mark.parametrize("text", ["a: 1\n\tb: 2\n", "a: 1\nb:\n\t- 2\n"])
def test_a_tab_is_named_with_what_to_write(text):
    with pytest.raises(ConfigError, match=r"^x.yaml: line [23]: found a tab; write spaces instead$"):
        parse_yaml(text, "x.yaml")


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_python_and_yaml_write_them_are_read_back(number):
    assert parse_yaml(f"a: {number!r}\n", "x.yaml")["a"] == number
    assert parse_yaml(yaml.safe_dump({"a": number}), "x.yaml")["a"] == number


@given(st.text("0123456789_:.+-xob", min_size=1, max_size=8))
def test_a_number_is_what_python_reads_or_is_refused(text):
    try:
        value = parse_yaml(f"a: {text}\n", "x.yaml")["a"]
    except (ConfigError, KeyError):
        return
    if isinstance(value, int | float):
        assert value == float(text)


# A run file, and the one line that both readers refuse it with.
BOTH = {
    "steps: [010]\n": "run.yaml: line 1: YAML reads 010 as 8; write the number in plain decimal digits",
    "shots: [0]\nevaluation: {fewshot_seed: 0777}\n": "run.yaml: line 2: YAML reads 0777 as 511; write the number",
    "limits: {disk_gb: 1_0}\n": "run.yaml: line 1: YAML reads 1_0 as 10; write the number in plain decimal digits",
    "shots: [5.0]\n": "config: shots.0: expected a whole number, not 5.0",
    'run: "pocket\\n"\n': r"config: the value at 'run' contains a line break or another control character: 'pocket\n'",
}


def last_line(root, folder, *command):
    """Last line on stderr of a command that refuses its configuration with exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("text", BOTH)
def test_both_readers_refuse_with_the_same_line(root, tmp_path, text):
    for name in ("config", "rules", "envs", "Snakefile", "workflow_scripts"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "run.yaml").write_text(text)
    ours = last_line(root, tmp_path, "workflow_scripts.workflow.tools.check", "--config", "run.yaml")
    assert ours.startswith(f"error: {BOTH[text]}")
    theirs = last_line(root, tmp_path, "snakemake", "-n", "--configfile", "run.yaml")
    assert theirs.replace(f"{tmp_path}/", "") == ours
