"""Notebooks without a notebook server: read, run cell by cell in this process, keep what the cells show.

Only what the sample notebook needs: text that is printed, the value of a cell's last line, and figures. It must not
write into the notebook that it was given; a notebook is code of this project and is trusted like a program.
"""

import ast
import base64
import copy
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.report.drawing.style import METADATA

PARAMETERS = "parameters"  # tag of the cell whose names may be given other values
FORMAT = 4  # nbformat's major version


def read_notebook(path: Path) -> JsonObject:
    """A notebook (nbformat 4) as JSON; raises MissingInputError or DataError."""
    content = read_object(path, "notebook", "save it again with Jupyter")
    if content.get("nbformat") != FORMAT or "cells" not in content:
        raise DataError(f"{path}: not a notebook of format {FORMAT}; save it again with Jupyter")
    return content


def run_notebook(notebook: JsonMapping, parameters: JsonMapping) -> JsonObject:
    """The notebook with the outputs of its code cells, run in order in one namespace.

    ``parameters`` replace the values that the cell tagged ``parameters`` gives; raises DataError for a name it lacks.
    An exception of a cell is raised as it is, with the number of the cell as a note.
    """
    plt.close("all")  # a figure that was open before is not the notebook's
    done = copy.deepcopy(dict(notebook))
    namespace: dict[str, Any] = {"__name__": "__notebook__"}
    unused = set(parameters)
    for number, cell in enumerate(done["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        try:
            cell["outputs"] = run_cell("".join(cell["source"]), f"cell {number}", namespace)
        except Exception as error:
            error.add_note(f"in cell {number} of the notebook")
            raise
        cell["execution_count"] = number
        if PARAMETERS in cell.get("metadata", {}).get("tags", []):
            unused -= namespace.keys()
            namespace |= parameters
    if unused:
        raise DataError(f"the notebook's cell tagged '{PARAMETERS}' does not set {', '.join(sorted(unused))}")
    return done


def run_cell(source: str, name: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell; returns its outputs: printed text, value of the last line, figures."""
    tree = ast.parse(source, name)
    printed = io.StringIO()
    outputs: list[JsonObject] = []
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body[-1].value)
        del tree.body[-1]
    with redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)  # noqa: S102 - running cells is what this module is for
        value = eval(compile(last, name, "eval"), namespace) if last else None  # noqa: S307
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    # As in Jupyter, a semicolon at the end says not to show the value.
    if value is not None and not source.rstrip().endswith(";"):
        outputs.append({"output_type": "display_data", "metadata": {}, "data": shown(value)})
    return outputs + [figure_output(number) for number in plt.get_fignums()]


def shown(value: object) -> dict[str, str]:
    """A value as a notebook shows it: as HTML where it knows how, and as text."""
    html: dict[str, str] = {"text/html": value._repr_html_()} if hasattr(value, "_repr_html_") else {}
    return {**html, "text/plain": value if isinstance(value, str) else repr(value)}


def figure_output(number: int) -> JsonObject:
    """An open figure as PNG; it is closed."""
    buffer = io.BytesIO()
    figure = plt.figure(number)
    figure.savefig(buffer, format="png", metadata=METADATA["png"])
    plt.close(figure)
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture}}
