r"""The suite's quickstart on a fetched checkpoint: load model and tokenizer, generate from a prompt, decode, print.

As in the README of the suite, with plain transformers and a folder instead of a download. Greedy, so equal weights give
equal text. A checkpoint that lacks a tensor is refused, where transformers would fill it with random numbers.

Example:
  python -m workflow_scripts.evaluation.quickstart --checkpoint results/checkpoints/pythia-70m-deduped/step3000 \
    --prompt 'Hello, I am' --output results/quickstart/pythia-70m-deduped/step3000.txt
"""

from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record

PROMPT = "Hello, I am"


def generate(folder: Path, prompt: str, tokens: int) -> str:
    """``prompt`` and at most ``tokens`` greedily chosen tokens after it, decoded.

    Raises MissingInputError without a checkpoint in ``folder``, ModelError for weights that are not whole.
    """
    if not (folder / "config.json").is_file():
        raise MissingInputError(f"{folder}: holds no checkpoint; fetch it with workflow_scripts.checkpoints.fetch")
    from workflow_scripts.evaluation.engine.stock_engine import load_network

    model = load_network(folder, "float32", "cpu")
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config, local_files_only=True)
    inputs = tokenizer(prompt, return_tensors="pt")
    room = int(model.config.max_position_embeddings) - int(inputs["input_ids"].shape[1])
    if room < 1:
        raise ConfigError(f"--prompt has {inputs['input_ids'].shape[1]} tokens, which leaves no room for an answer")
    with torch.inference_mode():
        answer = model.generate(
            **inputs, max_new_tokens=min(tokens, room), do_sample=False, num_beams=1, pad_token_id=0
        )
    return str(tokenizer.decode(answer[0]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a fetched checkpoint")
    parser.add_argument("--prompt", default=PROMPT, help="text to continue")
    parser.add_argument("--tokens", type=int, default=20, help="most tokens to generate")
    parser.add_argument("--output", type=Path, required=True, help="text file to write")
    options = parser.parse_args(arguments)
    if not options.prompt or options.tokens < 1:
        raise ConfigError("--prompt must not be empty and --tokens at least 1")
    text = generate(options.checkpoint, options.prompt, options.tokens)
    write_text(options.output, text + "\n")
    inputs = {"config": options.checkpoint / "config.json", "tokenizer": options.checkpoint / "tokenizer.json"}
    known = {name: sha256_file(path) for name, path in inputs.items()}
    write_record(options.output, inputs, {"prompt": options.prompt, "tokens": options.tokens}, known)
    cli.say(text)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
