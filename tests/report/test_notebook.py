"""The sample notebook runs from top to bottom; what the runner keeps and what it refuses."""

import base64
import json
import re

import pytest
import torch
from safetensors.torch import save_file

from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.report.notebook import read_notebook, run_notebook
from workflow_scripts.report.run_notebook import main


def notebook_of(*sources, tagged=None):
    cells = [{"cell_type": "code", "metadata": {}, "source": [source], "outputs": []} for source in sources]
    if tagged is not None:
        cells[tagged]["metadata"]["tags"] = ["parameters"]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_cells_share_names_and_keep_what_they_show():
    done = run_notebook(notebook_of("x = 2\nprint('printed')", "x + 1", "y = x"), {})
    outputs = [cell["outputs"] for cell in done["cells"]]
    assert outputs[0] == [{"output_type": "stream", "name": "stdout", "text": "printed\n"}]
    assert outputs[1][0]["data"] == {"text/plain": "3"}
    assert outputs[2] == []


def test_a_value_before_a_semicolon_is_not_shown():
    done = run_notebook(notebook_of("print(1)\nobject(); ", "object()"), {})
    assert done["cells"][0]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    assert len(done["cells"][1]["outputs"]) == 1


def test_figures_become_pictures_and_are_closed():
    source = "import matplotlib.pyplot as plt\n_ = plt.subplots()"
    done = run_notebook(notebook_of(source, "plt.get_fignums()"), {})
    picture = done["cells"][0]["outputs"][0]["data"]["image/png"]
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert done["cells"][1]["outputs"][0]["data"] == {"text/plain": "[]"}


def test_parameters_replace_those_of_the_tagged_cell():
    done = run_notebook(notebook_of("a = 1\nb = 2", "a, b", tagged=0), {"b": 5})
    assert done["cells"][1]["outputs"][0]["data"]["text/plain"] == "(1, 5)"
    with pytest.raises(DataError, match="does not set c"):
        run_notebook(notebook_of("a = 1", tagged=0), {"c": 5})


def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(notebook_of("1", "1 / 0")))
    with pytest.raises(ZeroDivisionError) as failure:
        main(["--notebook", str(path), "--output", str(tmp_path / "done.ipynb")])
    assert failure.value.__notes__ == ["in cell 2 of the notebook"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_notebook_is_refused(tmp_path):
    path = tmp_path / "n.ipynb"
    with pytest.raises(MissingInputError, match="no such notebook"):
        read_notebook(path)
    for text, message in (("{", "not JSON"), ('{"nbformat": 3}', "not a notebook of format 4")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_notebook(path)
    with pytest.raises(ConfigError, match="write name=value"):
        main(["--notebook", str(path), "--set", "novalue", "--output", str(path)])


def test_the_sample_notebook_in_git_shows_what_it_makes(root):
    """A code host shows tables and figures without running anything; nothing of a machine is in them."""
    path = root / "notebooks" / "explore.ipynb"
    outputs = [item for cell in read_notebook(path)["cells"] for item in cell.get("outputs", [])]
    kinds = [kind for item in outputs for kind in item.get("data", {})]
    assert kinds.count("image/png") == 2
    assert kinds.count("text/html") == 3
    assert path.stat().st_size < 300_000
    assert not re.search(r"/(?:home|root|tmp|Users|work)/", path.read_text(encoding="utf-8"))


def test_the_sample_notebook_runs(root, run_on_disk, tmp_path):
    checkpoint = tmp_path / "step8"
    checkpoint.mkdir()
    save_file({"w": torch.full((2, 3), 2.0), "bias": torch.ones(3)}, checkpoint / "model.safetensors")
    output = tmp_path / "explore.ipynb"
    given = {"root": "/", "run_dir": str(run_on_disk["run_dir"]), "checkpoint": str(checkpoint)}
    words = [f"{name}={value}" for name, value in given.items()]
    main(["--notebook", str(root / "notebooks" / "explore.ipynb"), "--set", *words, "--output", str(output)])
    cells = {cell["id"]: cell.get("outputs", []) for cell in read_notebook(output)["cells"]}
    assert "pocket-1m" in cells["last"][0]["data"]["text/html"]
    pictures = [item for name in ("first", "second") for item in cells[name] if "image/png" in item["data"]]
    assert len(pictures) == 2
    assert "(2, 3)" in cells["weights"][0]["data"]["text/plain"]
    assert "2.0" in cells["weights"][0]["data"]["text/plain"]
    assert "no record" in cells["why"][0]["text"]
