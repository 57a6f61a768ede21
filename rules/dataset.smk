# Data: made here (pocket, books) and published into a local mirror, then downloaded from whatever source the run
# names, verified, seen as one array, put into training order.


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
        made=alternatives(GRAPH.suites_with_corpus("generated")),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(10),
    params:
        seed=GRAPH.corpus("seed"),
        documents=GRAPH.corpus("documents"),
    shell:
        "python -m workflow_scripts.pocket.generate_corpus --seed {params.seed:q} --documents {params.documents:q}"
        " --output-standard {output.standard:q} --output-deduped {output.deduped:q} --world {output.world:q}"
        " > {log:q} 2>&1"


rule generate_tasks:
    """The pocket suite's test items, in the layout of the Hub's evaluation data."""
    input:
        world="results/corpus/{made}/world.json",
    output:
        data=GRAPH.made_task_patterns(),
    log:
        "results/logs/generate_tasks/{made}.log",
    benchmark:
        "results/timings/generate_tasks/{made}.tsv"
    wildcard_constraints:
        made=alternatives(GRAPH.suites_with_corpus("generated")),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(10),
    params:
        seed=GRAPH.corpus("seed"),
        folder=lambda wildcards, output: str(Path(output.data[0]).parents[3]),
    shell:
        "python -m workflow_scripts.pocket.generate_tasks --seed {params.seed:q} --world {input.world:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule import_corpus:
    """Text that the user brings, with whole titles held out for validation."""
    input:
        corpus=GRAPH.corpus_text,
    output:
        standard="results/corpus/{read}/standard.jsonl",
        validation="results/corpus/{read}/validation.jsonl",
    log:
        "results/logs/import_corpus/{read}.log",
    benchmark:
        "results/timings/import_corpus/{read}.tsv"
    wildcard_constraints:
        read=alternatives(GRAPH.suites_with_corpus("jsonl")),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(10),
    params:
        held_out=GRAPH.corpus("held_out"),
    shell:
        "python -m workflow_scripts.dataset.import_corpus --corpus {input.corpus:q} --held-out {params.held_out:q}"
        " --output-train {output.standard:q} --output-validation {output.validation:q} > {log:q} 2>&1"


rule fetch_tokenizer:
    """The tokenizer that was released with the suite."""
    output:
        tokenizer="results/corpus/{released}/tokenizer.json",
        receipt="results/corpus/{released}/tokenizer-fetched.json",
    log:
        "results/logs/fetch_tokenizer/{released}.log",
    benchmark:
        "results/timings/fetch_tokenizer/{released}.tsv"
    wildcard_constraints:
        released=alternatives(GRAPH.suites_with_tokenizer("released")),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(30),
        downloads=1,
    params:
        source=GRAPH.checkpoint_source(),
        location=GRAPH.checkpoint_location(),
        repository=SUITE.tokenizer.get("repository"),
        folder=lambda wildcards, output: str(Path(output.tokenizer).parent),
    shell:
        "python -m workflow_scripts.storage.download --source {params.source:q} --location={params.location:q}"
        " --kind model --repository {params.repository:q} --revision main --include tokenizer.json"
        " --output-dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


rule train_tokenizer:
    """A byte-level BPE tokenizer of the 20B tokenizer's kind."""
    input:
        corpus="results/corpus/{made}/standard.jsonl",
    output:
        tokenizer="results/corpus/{made}/tokenizer.json",
    log:
        "results/logs/train_tokenizer/{made}.log",
    benchmark:
        "results/timings/train_tokenizer/{made}.tsv"
    wildcard_constraints:
        made=alternatives(GRAPH.suites_with_tokenizer("trained")),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=lasts(20),
    params:
        vocab_size=SUITE.tokenizer["vocab_size"],
    shell:
        "python -m workflow_scripts.dataset.train_tokenizer --corpus {input.corpus:q}"
        " --vocab-size {params.vocab_size:q} --output {output.tokenizer:q} > {log:q} 2>&1"


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
        mem_mb=grows(1000),
        runtime=lasts(30),
    params:
        prefix=lambda wildcards: f"results/corpus/{wildcards.suite}/{wildcards.part}",
    shell:
        "python -m workflow_scripts.dataset.tokenize_corpus --corpus {input.corpus:q}"
        " --tokenizer {input.tokenizer:q} --append-eod --output-prefix {params.prefix:q} > {log:q} 2>&1"


rule publish_dataset:
    """Tokens cut into shards in the local mirror, as on the Hub; the list of hashes is written last."""
    input:
        tokens=lambda wildcards: f"results/corpus/{SUITE.name}/{GRAPH.dataset_in(wildcards.repository).key}.bin",
        index=lambda wildcards: f"results/corpus/{SUITE.name}/{GRAPH.dataset_in(wildcards.repository).key}.idx",
    output:
        hashes="results/mirror/datasets/{organisation}/{repository}/sha256.txt",
    log:
        "results/logs/publish_dataset/{organisation}-{repository}.log",
    benchmark:
        "results/timings/publish_dataset/{organisation}-{repository}.tsv"
    wildcard_constraints:
        repository=alternatives(
            dataset.repository.split("/")[1] for dataset in SUITE.datasets.values()
        ),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(10),
    params:
        prefix=lambda wildcards: f"results/corpus/{SUITE.name}/{GRAPH.dataset_in(wildcards.repository).key}",
        name=lambda wildcards: GRAPH.dataset_in(wildcards.repository).prefix,
        shards=lambda wildcards: GRAPH.dataset_in(wildcards.repository).shards,
        folder=lambda wildcards: f"{layout.MIRROR}/datasets/{wildcards.organisation}/{wildcards.repository}",
    shell:
        "python -m workflow_scripts.dataset.publish_shards --prefix {params.prefix:q} --name {params.name:q}"
        " --num-shards {params.shards:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule download_dataset:
    """Shards and index from the run's source, hashed while they stream."""
    input:
        mirror=GRAPH.mirror_hashes,
    output:
        receipt="results/data/{suite}/{dataset}/downloaded.json",
    log:
        "results/logs/download_dataset/{suite}-{dataset}.log",
    benchmark:
        "results/timings/download_dataset/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(1440),
        downloads=1,
    params:
        source=RUN.section("dataset").get("source"),
        location=RUN.section("dataset").get("location") or "",
        revision=RUN.section("dataset").get("revision", "main"),
        repository=lambda wildcards: SUITE.dataset(wildcards.dataset).repository,
        include=lambda wildcards: list(SUITE.dataset(wildcards.dataset).file_names),
        lock=GRAPH.lock_arguments,
        folder=GRAPH.raw_folder,
    shell:
        "python -m workflow_scripts.storage.download --source {params.source:q} --location={params.location:q}"
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
        mem_mb=grows(500),
        runtime=lasts(240),
    params:
        folder=GRAPH.raw_folder,
    shell:
        "python -m workflow_scripts.storage.verify --folder {params.folder:q} --lock {input.receipt:q}"
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
        mem_mb=grows(500),
        runtime=lasts(10),
    params:
        shards=GRAPH.raw_shards,
        index=GRAPH.raw_index,
    shell:
        "python -m workflow_scripts.dataset.make_view --idx {params.index:q} --shards {params.shards:q}"
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
        mem_mb=grows(500),
        runtime=lasts(1440),
    params:
        first=lambda wildcards: GRAPH.raw_shards(wildcards)[0],
        shards=lambda wildcards: SUITE.dataset(wildcards.dataset).shards,
        folder=lambda wildcards: f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/joined",
    shell:
        "python -m workflow_scripts.dataset.unshard_memmap --input_file {params.first:q}"
        " --num_shards {params.shards:q} --output_dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


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
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        numbers=GRAPH.order_numbers,
        folder=lambda wildcards: f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/index_maps",
        prefix=lambda wildcards: SUITE.dataset(wildcards.dataset).prefix,
    shell:
        "python -m workflow_scripts.dataset.build_index_maps --view {input.view:q} --prefix {params.prefix:q}"
        " {params.numbers:q} --output-dir {params.folder:q} --summary {output.summary:q} > {log:q} 2>&1"


rule sample_batches:
    """A few batches of the training order, decoded, with the hash of each."""
    input:
        view="results/data/{suite}/{dataset}/view.json",
        maps="results/data/{suite}/{dataset}/index_maps/index_maps.json",
        tokenizer=GRAPH.tokenizer(),
    output:
        samples="results/data/{suite}/{dataset}/batches/samples.jsonl",
    log:
        "results/logs/sample_batches/{suite}-{dataset}.log",
    benchmark:
        "results/timings/sample_batches/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=lasts(10),
    params:
        iterations=RUN.section("dataset").get("sample_iterations", [0]),
        numbers=GRAPH.order_numbers,
    shell:
        "python -m workflow_scripts.dataset.sample_batches --view {input.view:q} --index-maps {input.maps:q}"
        " --tokenizer {input.tokenizer:q} {params.numbers:q} --iterations {params.iterations:q}"
        " --output {output.samples:q} > {log:q} 2>&1"
