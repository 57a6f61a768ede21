"""Small made-up tables of traced texts."""

from __future__ import annotations

import pandas as pd

MODELS = (("pocket-90k", "90k"), ("pocket-1m", "1m"))
STEPS = (0, 1, 16, 64, 600)
SEEN = {"often": [3, 20, 40, 300], "seldom": [70], "never": []}


def trace_tables() -> dict[str, pd.DataFrame]:
    """All tables of the experiment by name: three texts, two models, one domain."""
    losses = [
        {"model": model, "size": size, "data": "standard", "step": step, "text": text, "domain": "lines", "tokens": 9}
        | {"loss": 7.0 - place - step / 200}
        for model, size in MODELS
        for step in STEPS
        for place, text in enumerate(SEEN)
    ]
    exposures = [
        {"text": text, "domain": "lines", "step": step, "row": 8 * step, "length": 9, "whole": True, "data": "standard"}
        for text, steps in SEEN.items()
        for step in steps
    ]
    exposures.append({**exposures[0], "step": 5, "whole": False})
    texts = [
        {
            "text": text,
            "domain": "lines",
            "tokens": 9,
            "content": f"The words of {text}, </script> & all.",
            "exposures": 9,
        }
        | {"whole": len(steps), "data": "standard"}
        for text, steps in SEEN.items()
    ]
    effect = [
        {"model": model, "size": size, "data": "standard", "effect": -0.1, "lower": -0.12, "upper": -0.08, "texts": 9}
        | {"placebo": 0.0, "placebo_lower": -0.02, "placebo_upper": 0.02}
        for model, size in MODELS
    ]
    course = [
        {"model": model, "size": size, "data": "standard", "windows_later": lag, "steps_later": 64.0 * lag, "texts": 9}
        | {"effect": -0.1 / (lag + 1), "lower": -0.2, "upper": 0.1}
        for model, size in MODELS
        for lag in range(3)
    ]
    made = {
        "traces": effect,
        "traces_forgetting": course,
        "traces_texts": texts,
        "traces_losses": losses,
        "traces_exposures": exposures,
    }
    return {name: pd.DataFrame(rows) for name, rows in made.items()}
