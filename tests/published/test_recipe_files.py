"""Config files of upstream's folder ``models``: the defects that they are known to have, and none where none are."""

import pytest

from workflow_scripts.errors import MissingInputError
from workflow_scripts.published.formats.recipe_files import recipe_defects
from workflow_scripts.published.import_results import main

SOUND = """{
  # model settings
  "num-layers": 6, "hidden-size": 512, "num-attention-heads": 8,
  "rotary-pct": 0.25,
  "optimizer": {"type": "Adam", "params": {"lr": 0.001, "eps": 1.0e-8,}},
  "cpu_offload": False,
}
"""
# As in models/12B/pythia-12b.yml: no comma behind the attention config; the other spelling of rotary-pct.
NO_COMMA = """{
  "num-layers": 36,
  "hidden-size": 5120,
  "num-attention-heads": 40,
  "rotary_pct": 0.25,
  "attention-config": [[["flash"], 36]]

  "optimizer": {"params": {"lr": 0.00012}}
}
"""
WRONG_HEADS = NO_COMMA.replace('"num-attention-heads": 40', '"num-attention-heads": 36').replace("]]\n", "]],\n")
OTHER_RATE = (
    '{"num-layers": 16, "hidden-size": 2048, "num-attention-heads": 8, "optimizer": {"params": {"lr": 0.00025}}}'
)


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / "models" / name.split("_")[0].upper() / f"pythia-{name.replace('_', '-')}.yml"
            path = path.with_name(path.name.replace("1-4b", "1.4b"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "models"

    return write


def test_a_sound_file_gives_no_finding(folder):
    assert recipe_defects(folder(**{"70m": SOUND})) == []


def test_a_missing_comma_is_found_with_its_line(folder):
    (defect,) = recipe_defects(folder(**{"12b": NO_COMMA}))
    assert defect.what == "12B/pythia-12b.yml cannot be read as YAML"
    assert defect.evidence.startswith("line 8: ")


def test_heads_that_do_not_divide_the_width_are_found(folder):
    (defect,) = recipe_defects(folder(**{"12b_deduped": WRONG_HEADS}))
    assert "num-attention-heads 36, the model has 40" in defect.what
    assert "36 heads do not even divide a width of 5120" in defect.evidence


def test_shape_is_checked_in_a_file_that_yaml_refuses(folder):
    found = recipe_defects(folder(**{"12b": NO_COMMA.replace('"num-layers": 36', '"num-layers": 40')}))
    assert [d.what.partition(": ")[2] for d in found[1:]] == ["num-layers 40, the model has 36"]


def test_a_rate_other_than_the_readme_is_found(folder):
    (defect,) = recipe_defects(folder(**{"1b": OTHER_RATE}))
    assert (defect.what, defect.evidence) == ("1B/pythia-1b.yml: learning rate 0.00025", "README says 0.0003")


def test_spellings_are_compared_between_files(folder):
    (defect,) = (d for d in recipe_defects(folder(**{"70m": SOUND, "12b": NO_COMMA})) if "spelled" in d.what)
    assert defect.evidence == "spelling (files): rotary-pct (1) and rotary_pct (1)"


def test_the_importer_adds_them_to_its_list(folder, tmp_path, evals):
    source = tmp_path / "evals" / "opt"
    source.mkdir(parents=True)
    (source / "opt-125m.json").write_bytes((evals / "opt" / "opt-125m.json").read_bytes())
    output = tmp_path / "p.parquet"
    main(["--source", str(source.parent), "--recipes", str(folder(**{"12b": NO_COMMA})), "--output", str(output)])
    assert "recipe-file\t12B/pythia-12b.yml cannot be read" in output.with_suffix(".defects.tsv").read_text()


def test_a_folder_without_recipes_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match=r"no \.yml files"):
        recipe_defects(tmp_path)
