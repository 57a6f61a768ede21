"""The Python of this workflow: one package per stage, the graph's own logic in ``workflow``."""

from pathlib import Path

# Top folder of the checkout that this code belongs to.
ROOT = Path(__file__).resolve().parents[1]
