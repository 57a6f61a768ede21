"""What the rules of the experiments look up: jobs, input files and targets, as functions of the wildcards."""

from __future__ import annotations

from typing import Any

from workflow_scripts.suite import layout
from workflow_scripts.suite.arms import (
    Arm,
    chosen_arms,
    function_path,
    load_declaration,
    saved_iterations,
    start_iteration,
)
from workflow_scripts.suite.experiment_files import (
    TABLES,
    RowRange,
    arm_folder,
    experiments_of,
    exposures_file,
    one_per_size,
    row_ranges,
    term_answers_file,
    term_count_files,
    term_steps,
)
from workflow_scripts.suite.models import Model
from workflow_scripts.workflow.graph import Graph

# Items of bias and of the guard, by suite.
BENCHMARKS = {
    "pocket": ("pocket_pronouns", "pocket_last_word"),
    "pythia": ("crows_pairs_english_gender", "winobias", "lambada_openai"),
}


class ExperimentGraph:
    """The grid of the experiments of one run. Methods that take ``wildcards`` answer for one job."""

    def __init__(self, graph: Graph) -> None:
        """Resolve the run's experiments; raises UnknownNameError or ConfigError."""
        self.graph = graph
        self.run = graph.run
        self.names = experiments_of(graph.run)
        self.models = one_per_size(graph.run.models)

    def tables_of(self, name: str) -> list[str]:
        """Tables of an experiment, as patterns with ``{run}`` left open."""
        return [f"{layout.run_folder('{run}')}/tables/{table}.parquet" for table in TABLES[name]]

    def verdict_of(self, name: str) -> str:
        """Verdict of an experiment, with ``{run}`` left open."""
        return f"{layout.run_folder('{run}')}/tables/verdict_{name}.json"

    def targets(self) -> list[str]:
        """What ``snakemake experiments`` makes: the verdicts, and with them the tables."""
        return [self.verdict_of(name).format(run=self.run.name) for name in self.names]

    # Term frequency

    def terms(self) -> str:
        """Name of the run's list of terms."""
        return str(self.run.section("term_frequency").get("terms", "pocket"))

    def world(self, wildcards: Any = None) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """World file that facts are counted from, for suites that have one."""
        made = self.graph.suites_with_corpus("generated")
        return [f"{layout.RESULTS}/corpus/{name}/world.json" for name in made]

    def world_arguments(self, wildcards: Any) -> list[str]:
        """The same as an argument."""
        return [text for path in self.world(wildcards) for text in ("--world", path)]

    def count_steps(self, wildcards: Any) -> list[int]:
        """Iterations at which counts are kept: those of all models on the data set."""
        settings = self.run.section("term_frequency")
        models = [model for model in self.models if model.dataset == wildcards.dataset]
        return sorted({model.step(hub).iteration for model in models for hub in term_steps(model, settings)})

    def asked_checkpoints(self, wildcards: Any) -> list[str]:
        """Folders of the checkpoints of a model that are asked."""
        model = self.graph.model(wildcards)
        steps = term_steps(model, self.run.section("term_frequency"))
        return [layout.checkpoint_folder(model.name, step) for step in steps]

    def asked_receipts(self, wildcards: Any) -> list[str]:
        """Receipts of the same checkpoints."""
        return [f"{folder}/fetched.json" for folder in self.asked_checkpoints(wildcards)]

    def term_tables(self, wildcards: Any = None) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Counts of each data set and answers of each model of the run."""
        settings = self.run.section("term_frequency")
        counts = [path for key in self.run.datasets for path in term_count_files(self.models, key, settings)]
        return [*counts, *(term_answers_file(model.name) for model in self.models)]

    # Seeds and scaling

    def plans(self) -> list[str]:
        """Plans of the run's scores."""
        return [layout.plan_file(self.run.suite.name, shots) for shots in self.run.shots]

    def training_arguments(self) -> list[str]:
        """Folder of the training logs, where the run trains."""
        return ["--training-root", f"{layout.RESULTS}/training"] if self.run.retrains else []

    # Interventions

    def arms(self) -> tuple[Arm, ...]:
        """Arms of the run's interventions."""
        settings = self.run.section("interventions")
        return chosen_arms(load_declaration(settings["declaration"]), settings["arms"]) if settings else ()

    def declaration(self) -> str:
        """Name of the run's declaration of interventions."""
        return str(self.run.section("interventions").get("declaration", "pronouns"))

    def intervened(self) -> list[Model]:
        """Models of the run whose late training is repeated."""
        wanted = self.run.section("interventions").get("models", [])
        return [model for model in self.run.models if model.name in wanted]

    def kept_steps(self, wildcards: Any) -> list[int]:
        """Steps of a model from which arms go on: saved with the optimizer's state, whether the run has arms or not."""
        model = self.graph.model(wildcards)
        if model not in self.intervened():
            return []
        return sorted({start_iteration(model, arm) for arm in self.arms()})

    def kept_arguments(self, wildcards: Any) -> list[str]:
        """The same as arguments of the training program."""
        steps = self.kept_steps(wildcards)
        return ["--keep-optimizer", *map(str, steps)] if steps else []

    def arm_items(self, wildcards: Any = None) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Items of every arm of every model of the run."""
        return [
            f"{arm_folder(model.name, arm.name)}/items.parquet" for model in self.intervened() for arm in self.arms()
        ]

    def arm(self, wildcards: Any) -> Arm:
        """The arm that the wildcards name."""
        return next(arm for arm in self.arms() if arm.name == wildcards.arm)

    def arm_function(self, wildcards: Any) -> list[str]:
        """File of the user's function that rewrites an arm's data, where it has one."""
        function = self.arm(wildcards).function
        return [] if function is None else [f"config/interventions/{function_path(function).name}"]

    def arm_arguments(self, wildcards: Any) -> list[str]:
        """What is changed in an arm, as arguments of the program that makes its patch."""
        arm = self.arm(wildcards)
        return ["--direction", arm.direction] if arm.function is None else ["--function", arm.function]

    def arm_names(self) -> list[str]:
        """Names of the run's arms."""
        return [arm.name for arm in self.arms()]

    def arm_start(self, wildcards: Any) -> int:
        """Iteration from which an arm goes on."""
        return start_iteration(self.graph.model(wildcards), self.arm(wildcards))

    def arm_origin(self, wildcards: Any) -> str:
        """Folder of the baseline's checkpoint, with its optimizer state, from which an arm goes on."""
        return f"{layout.training_folder(wildcards.model)}/step{self.arm_start(wildcards)}"

    def arm_iterations(self, wildcards: Any) -> tuple[int, ...]:
        """Iterations of an arm that are saved."""
        return saved_iterations(self.graph.model(wildcards), self.arm(wildcards))

    def arm_steps(self, wildcards: Any) -> list[int]:
        """Hub steps of an arm that are published and scored."""
        factor = self.graph.model(wildcards).hub_steps_per_iteration
        return [iteration * factor for iteration in self.arm_iterations(wildcards)]

    def arm_folders(self, wildcards: Any) -> list[str]:
        """Folders of the published checkpoints of an arm."""
        folder = arm_folder(wildcards.model, wildcards.arm)
        return [f"{folder}/published/step{step}" for step in self.arm_steps(wildcards)]

    def benchmarks(self) -> list[str]:
        """Items that show bias and items that guard the rest, for the run's suite."""
        return list(BENCHMARKS.get(self.run.suite.name, BENCHMARKS["pythia"]))

    # Memorization

    def row_jobs(self) -> list[RowRange]:
        """All memorization jobs of the run; none when it does not ask for them."""
        if "memorization" not in self.names:
            return []
        settings = self.run.section("memorization")
        return [job for model in self.models for job in row_ranges(model, settings)]

    def memorization_scores(self, wildcards: Any = None) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Tables of all memorization jobs."""
        return [job.path for job in self.row_jobs()]

    def certificates(self) -> list[str]:
        """Certificates that generation agrees with the scores of the last measured step of each model."""
        jobs = self.row_jobs()
        last: dict[str, int] = {}
        for job in jobs:
            last[job.model] = max(job.step, last.get(job.model, 0))
        return [job.certificate for job in jobs if job.step == last[job.model]]

    def exposures(self, wildcards: Any = None) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Which rows repeat a document, for each data set of the run."""
        return [exposures_file(self.run.suite.name, key) for key in self.run.datasets]

    def score_arguments(self, wildcards: Any) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Lengths and sampling of the memorization scores."""
        settings = self.run.section("memorization")
        return [text for key in ("prompt", "continuation", "every") for text in (f"--{key}", str(settings[key]))]

    def model_on(self, dataset: str) -> str:
        """Name of a model that is trained on a data set; all of a run share their order of training."""
        return next(model.name for model in self.models if model.dataset == dataset)
