# Data: made here (pocket, books) and published into a local mirror, then downloaded from whatever source the run
# names, verified, seen as one array, put into training order.

GENERATED = (
    [SUITE.name] if SUITE.corpus and SUITE.corpus["source"] == "generated" else []
)
IMPORTED = [SUITE.name] if SUITE.corpus and SUITE.corpus["source"] == "jsonl" else []
DATASET_SOURCE = RUN.section("dataset")


def corpus_settings(key):
    """A number of the suite's corpus, e.g. its seed."""
    return (SUITE.corpus or {}).get(key)


def dataset_in(repository):
    """The data set behind a repository's name."""
    return next(
        item
        for item in SUITE.datasets.values()
        if item.repository.split("/")[1] == repository
    )


def mirror_inputs(wildcards):
    """Hash list of the data set in the local mirror, when it is this workflow that fills the mirror."""
    dataset = SUITE.dataset(wildcards.dataset)
    return (
        f"{layout.mirrored_dataset(dataset)}/{layout.HASH_LIST}"
        if SUITE.is_made_here
        else []
    )


def lock_arguments(wildcards):
    """The list of sizes and hashes known beforehand: the suite's, or the one the source carries."""
    lock = SUITE.dataset(wildcards.dataset).lock
    return ["--lock", lock] if lock else []


def raw_files(wildcards):
    """Shards and index of a downloaded data set."""
    dataset = SUITE.dataset(wildcards.dataset)
    folder = f"{layout.dataset_folder(SUITE.name, dataset.key)}/raw"
    return [f"{folder}/{name}" for name in dataset.file_names]


def order_numbers(wildcards):
    """Numbers that decide the training order."""
    model = dataset_model(wildcards.dataset)
    return [
        "--seq-length",
        model.sequence_length,
        "--seed",
        model.data_seed,
        "--train-iters",
        model.train_iterations,
        "--batch-size",
        model.batch_rows,
    ]


def data_targets():
    """What `snakemake data` makes."""
    folders = [layout.dataset_folder(SUITE.name, key) for key in RUN.datasets]
    names = ["verified.json", "index_maps/index_maps.json", "batches/samples.jsonl"]
    if DATASET_SOURCE.get("joined"):
        names.append("joined/joined.json")
    return [f"{folder}/{name}" for folder in folders for name in names]


rule generate_corpus:
    """The pocket suite's documents, from a seed."""
    output:
        standard="results/corpus/{made}/standard.jsonl",
        deduped="results/corpus/{made}/deduped.jsonl",
        world="results/corpus/{made}/world.json",
    log:
        "results/logs/generate_corpus/{made}.log",
    benchmark:
        "results/timings/generate_corpus/{made}.tsv"
    wildcard_constraints:
        made=alternatives(GENERATED),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        seed=corpus_settings("seed"),
        documents=corpus_settings("documents"),
    shell:
        "{PYTHON:q} -m workflow_scripts.pocket.generate_corpus --seed {params.seed} --documents {params.documents}"
        " --output-standard {output.standard:q} --output-deduped {output.deduped:q} --world {output.world:q}"
        " > {log:q} 2>&1"


rule generate_tasks:
    """The pocket suite's test items, in the layout of the Hub's evaluation data."""
    input:
        world="results/corpus/{made}/world.json",
    output:
        data=[
            f"{layout.TASK_DATA}/{{made}}/{task.repository.split('/')[1]}/default/{split}.parquet"
            for task in SUITE.tasks.values()
            for split in task.splits
        ],
    log:
        "results/logs/generate_tasks/{made}.log",
    benchmark:
        "results/timings/generate_tasks/{made}.tsv"
    wildcard_constraints:
        made=alternatives(GENERATED),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        seed=corpus_settings("seed"),
        folder=layout.TASK_DATA,
    shell:
        "{PYTHON:q} -m workflow_scripts.pocket.generate_tasks --seed {params.seed} --world {input.world:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule import_corpus:
    """Text that the user brings, with whole titles held out for validation."""
    input:
        corpus=str(corpus_path(SUITE, RUN.settings)) if IMPORTED else [],
    output:
        standard="results/corpus/{read}/standard.jsonl",
        validation="results/corpus/{read}/validation.jsonl",
    log:
        "results/logs/import_corpus/{read}.log",
    benchmark:
        "results/timings/import_corpus/{read}.tsv"
    wildcard_constraints:
        read=alternatives(IMPORTED),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        held_out=corpus_settings("held_out"),
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.import_corpus --corpus {input.corpus:q} --held-out {params.held_out:q}"
        " --output-train {output.standard:q} --output-validation {output.validation:q} > {log:q} 2>&1"


rule train_tokenizer:
    """A byte-level BPE tokenizer of the 20B tokenizer's kind."""
    input:
        corpus="results/corpus/{suite}/standard.jsonl",
    output:
        tokenizer="results/corpus/{suite}/tokenizer.json",
    log:
        "results/logs/train_tokenizer/{suite}.log",
    benchmark:
        "results/timings/train_tokenizer/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        vocab_size=SUITE.tokenizer["vocab_size"],
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.train_tokenizer --corpus {input.corpus:q}"
        " --vocab-size {params.vocab_size} --output {output.tokenizer:q} > {log:q} 2>&1"


rule tokenize_corpus:
    """Documents as one token stream: `.bin` and `.idx`, a document end after each."""
    input:
        corpus="results/corpus/{suite}/{part}.jsonl",
        tokenizer="results/corpus/{suite}/tokenizer.json",
    output:
        tokens="results/corpus/{suite}/{part}.bin",
        index="results/corpus/{suite}/{part}.idx",
    log:
        "results/logs/tokenize_corpus/{suite}-{part}.log",
    benchmark:
        "results/timings/tokenize_corpus/{suite}-{part}.tsv"
    wildcard_constraints:
        part=alternatives([*SUITE.datasets, "validation"]),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        prefix=lambda wildcards: f"results/corpus/{wildcards.suite}/{wildcards.part}",
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.tokenize_corpus --corpus {input.corpus:q}"
        " --tokenizer {input.tokenizer:q} --append-eod --output-prefix {params.prefix:q} > {log:q} 2>&1"


rule publish_dataset:
    """Tokens cut into shards in the local mirror, as on the Hub; the list of hashes is written last."""
    input:
        tokens=lambda wildcards: f"results/corpus/{SUITE.name}/{dataset_in(wildcards.repository).key}.bin",
        index=lambda wildcards: f"results/corpus/{SUITE.name}/{dataset_in(wildcards.repository).key}.idx",
    output:
        hashes="results/mirror/datasets/{org}/{repository}/sha256.txt",
    log:
        "results/logs/publish_dataset/{org}-{repository}.log",
    benchmark:
        "results/timings/publish_dataset/{org}-{repository}.tsv"
    wildcard_constraints:
        org=re.escape(SUITE.organisation),
        repository=alternatives(
            dataset.repository.split("/")[1] for dataset in SUITE.datasets.values()
        ),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        prefix=lambda wildcards: f"results/corpus/{SUITE.name}/{dataset_in(wildcards.repository).key}",
        name=lambda wildcards: dataset_in(wildcards.repository).prefix,
        shards=lambda wildcards: dataset_in(wildcards.repository).shards,
        folder=lambda wildcards: f"{layout.MIRROR}/datasets/{wildcards.org}/{wildcards.repository}",
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.publish_shards --prefix {params.prefix:q} --name {params.name:q}"
        " --num-shards {params.shards} --output-dir {params.folder:q} > {log:q} 2>&1"


rule download_dataset:
    """Shards and index from the run's source, hashed while they stream."""
    input:
        mirror=mirror_inputs,
    output:
        receipt="results/data/{suite}/{dataset}/downloaded.json",
    log:
        "results/logs/download_dataset/{suite}-{dataset}.log",
    benchmark:
        "results/timings/download_dataset/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=1440,
        downloads=1,
    params:
        source=DATASET_SOURCE["source"],
        location=DATASET_SOURCE.get("location") or "",
        revision=DATASET_SOURCE.get("revision", "main"),
        repository=lambda wildcards: SUITE.dataset(wildcards.dataset).repository,
        include=lambda wildcards: list(SUITE.dataset(wildcards.dataset).file_names),
        lock=lock_arguments,
        folder=lambda wildcards: f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/raw",
    shell:
        "{PYTHON:q} -m workflow_scripts.storage.download --source {params.source:q} --location={params.location:q}"
        " --kind dataset --repository {params.repository:q} --revision {params.revision:q}"
        " --include {params.include:q} {params.lock:q} --output-dir {params.folder:q} --receipt {output.receipt:q}"
        " > {log:q} 2>&1"


rule verify_dataset:
    """Every file against its size and sha256, read back from the disk."""
    input:
        receipt="results/data/{suite}/{dataset}/downloaded.json",
    output:
        receipt="results/data/{suite}/{dataset}/verified.json",
    log:
        "results/logs/verify_dataset/{suite}-{dataset}.log",
    benchmark:
        "results/timings/verify_dataset/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    threads: 2
    resources:
        mem_mb=500,
        runtime=240,
    params:
        folder=lambda wildcards: f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/raw",
    shell:
        "{PYTHON:q} -m workflow_scripts.storage.verify --folder {params.folder:q} --lock {input.receipt:q}"
        " --jobs {threads} --receipt {output.receipt:q} > {log:q} 2>&1"


rule view_dataset:
    """The shards as one virtual array: nothing is copied."""
    input:
        receipt="results/data/{suite}/{dataset}/verified.json",
    output:
        view="results/data/{suite}/{dataset}/view.json",
    log:
        "results/logs/view_dataset/{suite}-{dataset}.log",
    benchmark:
        "results/timings/view_dataset/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        shards=lambda wildcards: raw_files(wildcards)[:-1],
        index=lambda wildcards: raw_files(wildcards)[-1],
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.make_view --idx {params.index:q} --shards {params.shards:q}"
        " --output {output.view:q} > {log:q} 2>&1"


rule join_dataset:
    """One joined `.bin`, only for tools that want one."""
    input:
        receipt="results/data/{suite}/{dataset}/verified.json",
    output:
        receipt="results/data/{suite}/{dataset}/joined/joined.json",
    log:
        "results/logs/join_dataset/{suite}-{dataset}.log",
    benchmark:
        "results/timings/join_dataset/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=500,
        runtime=1440,
    params:
        first=lambda wildcards: raw_files(wildcards)[0],
        shards=lambda wildcards: SUITE.dataset(wildcards.dataset).shards,
        folder=lambda wildcards: f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/joined",
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.unshard_memmap --input_file {params.first:q}"
        " --num_shards {params.shards} --output_dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


rule index_maps:
    """GPT-NeoX's three maps: which documents, where each sample starts, in which order the samples come."""
    input:
        view="results/data/{suite}/{dataset}/view.json",
    output:
        summary="results/data/{suite}/{dataset}/index_maps/index_maps.json",
    log:
        "results/logs/index_maps/{suite}-{dataset}.log",
    benchmark:
        "results/timings/index_maps/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        numbers=order_numbers,
        folder=lambda wildcards: f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/index_maps",
        prefix=lambda wildcards: SUITE.dataset(wildcards.dataset).prefix,
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.build_index_maps --view {input.view:q} --prefix {params.prefix:q}"
        " {params.numbers:q} --output-dir {params.folder:q} --summary {output.summary:q} > {log:q} 2>&1"


rule sample_batches:
    """A few batches of the training order, decoded, with the hash of each."""
    input:
        view="results/data/{suite}/{dataset}/view.json",
        maps="results/data/{suite}/{dataset}/index_maps/index_maps.json",
        tokenizer="results/corpus/{suite}/tokenizer.json",
    output:
        samples="results/data/{suite}/{dataset}/batches/samples.jsonl",
    log:
        "results/logs/sample_batches/{suite}-{dataset}.log",
    benchmark:
        "results/timings/sample_batches/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        iterations=DATASET_SOURCE.get("sample_iterations", [0]),
        numbers=order_numbers,
    shell:
        "{PYTHON:q} -m workflow_scripts.dataset.sample_batches --view {input.view:q} --index-maps {input.maps:q}"
        " --tokenizer {input.tokenizer:q} {params.numbers:q} --iterations {params.iterations}"
        " --output {output.samples:q} > {log:q} 2>&1"
