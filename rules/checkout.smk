# First of all: graph and jobs run the code of this folder, whatever .venv or PYTHONPATH hold. Python and Snakemake may
# have imported the package from elsewhere already; then nothing here can be trusted, not even its helpers.
import sys
from pathlib import Path

CHECKOUT = Path(workflow.basedir).resolve()
sys.path.insert(0, str(CHECKOUT))
import workflow_scripts

if not (CHECKOUT / "workflow_scripts/__init__.py").samefile(workflow_scripts.__file__):
    sys.stderr.write(
        f"error: Python loaded the code in {Path(workflow_scripts.__file__).parent}, not that of {CHECKOUT}; start "
        "with `make`, or remove .venv if it is a link and run `make setup`\n"
    )
    raise SystemExit(2)

from workflow_scripts.cli import USER_ERROR
from workflow_scripts.errors import PipelineError
from workflow_scripts.suite.checkout import require_place, use_code_of

try:
    require_place(Path.cwd(), CHECKOUT)
    use_code_of(CHECKOUT)
except PipelineError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(USER_ERROR)
