# Data: made here (pocket), or of fetched or given text (books), and published into a local mirror, then downloaded
# from whatever source the run names, verified, seen as one array, put into training order.
from itertools import chain

from workflow_scripts.workflow import dataset
from workflow_scripts.workflow.checkpoints import location_of, source_of

# Input functions from patterns: of_data("results/data/{suite}/{dataset}/raw/{file}") is every file of the data set
# that a job's wildcard {dataset} names, or that its {model} is trained on.
of_data = dataset.in_data(RUN)
# Files whose content a small file fixes (a list of hashes, a view) are ancient for those who read them: fetched or
# built again they are the same bytes, and nothing that was made from them follows.
CORPUS = (SUITE.corpus or {}).get("source")

if SUITE.is_made_here:
    FILE_LIST = of_data("results/mirror/datasets/{repository}/sha256.txt")
    MIRRORED_FILE = of_data("results/mirror/datasets/{repository}/{file}")
else:
    FILE_LIST = "results/data/{suite}/{dataset}/files.tsv"
    MIRRORED_FILE = []


if CORPUS == "generated":

    rule generate_corpus:
        """The pocket suite's documents, from a seed."""
        output:
            standard="results/corpus/{suite}/standard.jsonl",
            deduped="results/corpus/{suite}/deduped.jsonl",
            world="results/corpus/{suite}/world.json",
        log:
            "results/logs/generate_corpus/{suite}.log",
        benchmark:
            "results/timings/generate_corpus/{suite}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(10),
        params:
            seed=SUITE.corpus["seed"],
            documents=SUITE.corpus["documents"],
        shell:
            "python -m workflow_scripts.pocket.generate_corpus --seed {params.seed:q} --documents {params.documents:q}"
            " --output-standard {output.standard:q} --output-deduped {output.deduped:q} --world {output.world:q}"
            " > {log:q} 2>&1"

    rule generate_trace_texts:
        """Texts with known numbers of copies in the pocket suite's documents, to be traced through training."""
        output:
            texts="results/corpus/{suite}/trace_texts.jsonl",
        log:
            "results/logs/generate_trace_texts/{suite}.log",
        benchmark:
            "results/timings/generate_trace_texts/{suite}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(10),
        params:
            seed=SUITE.corpus["seed"],
            documents=SUITE.corpus["documents"],
        shell:
            "python -m workflow_scripts.pocket.generate_trace_texts --seed {params.seed:q}"
            " --documents {params.documents:q} --output {output.texts:q} > {log:q} 2>&1"

    rule generate_tasks:
        """The pocket suite's test items, in the layout of the Hub's evaluation data."""
        input:
            world=f"results/corpus/{SUITE.name}/world.json",
        output:
            data=dataset.task_files(SUITE),
        log:
            f"results/logs/generate_tasks/{SUITE.name}.log",
        benchmark:
            f"results/timings/generate_tasks/{SUITE.name}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(10),
        params:
            seed=SUITE.corpus["seed"],
            folder=subpath(output[0], ancestor=4),
        shell:
            "python -m workflow_scripts.pocket.generate_tasks --seed {params.seed:q} --world {input.world:q}"
            " --output-dir {params.folder:q} > {log:q} 2>&1"


BOOKS = dataset.books_of(RUN)

if BOOKS:

    rule fetch_book:
        """One text of the corpus, from the commit of its repository that the suite's table names."""
        output:
            text="results/corpus/{suite}/texts/{text}",
        log:
            "results/logs/fetch_book/{suite}-{text}.log",
        benchmark:
            "results/timings/fetch_book/{suite}-{text}.tsv"
        wildcard_constraints:
            text=alternatives(BOOKS),
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(30),
            downloads=1,
        params:
            location=dataset.book_location(RUN),
            repository=lambda wildcards: BOOKS[wildcards.text].repository,
            commit=lambda wildcards: BOOKS[wildcards.text].commit,
            size=lambda wildcards: BOOKS[wildcards.text].size,
            sha256=lambda wildcards: BOOKS[wildcards.text].sha256,
            folder=subpath(output.text, parent=True),
        shell:
            "python -m workflow_scripts.dataset.fetch_book --location={params.location:q}"
            " --repository {params.repository:q} --commit {params.commit:q} --path {wildcards.text:q}"
            " --size {params.size:q} --sha256 {params.sha256:q} --output-dir {params.folder:q} > {log:q} 2>&1"

    rule cut_books:
        """The texts without their licence, cut into documents at their chapters; held to the suite's sha256."""
        input:
            table=ancient(SUITE.corpus["texts"]),
            texts=ancient(expand("results/corpus/{{suite}}/texts/{text}", text=BOOKS)),
        output:
            corpus="results/corpus/{suite}/books.jsonl",
        log:
            "results/logs/cut_books/{suite}.log",
        benchmark:
            "results/timings/cut_books/{suite}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(10),
        params:
            sha256=SUITE.corpus["sha256"],
            folder="results/corpus/{suite}/texts",
        shell:
            "python -m workflow_scripts.dataset.cut_books --table {input.table:q} --texts {params.folder:q}"
            " --sha256 {params.sha256:q} --output {output.corpus:q} > {log:q} 2>&1"


if CORPUS == "jsonl":

    rule import_corpus:
        """Text that the user brings or that was cut from books, with whole titles held out for validation."""
        input:
            corpus=ancient(dataset.corpus_of(RUN)) if BOOKS else dataset.corpus_of(RUN),
        output:
            standard="results/corpus/{suite}/standard.jsonl",
            validation="results/corpus/{suite}/validation.jsonl",
        log:
            "results/logs/import_corpus/{suite}.log",
        benchmark:
            "results/timings/import_corpus/{suite}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(10),
        params:
            held_out=SUITE.corpus.get("held_out"),
            expected=["--sha256", SUITE.corpus["sha256"]] if BOOKS else [],
        shell:
            "python -m workflow_scripts.dataset.import_corpus --corpus {input.corpus:q} {params.expected:q}"
            " --held-out {params.held_out:q} --output-train {output.standard:q} --output-validation {output.validation:q} > {log:q} 2>&1"


if SUITE.tokenizer["source"] == "released":

    rule fetch_tokenizer:
        """The tokenizer that was released with the suite."""
        output:
            tokenizer="results/corpus/{suite}/tokenizer.json",
            receipt="results/corpus/{suite}/tokenizer-fetched.json",
        log:
            "results/logs/fetch_tokenizer/{suite}.log",
        benchmark:
            "results/timings/fetch_tokenizer/{suite}.tsv"
        priority: 50  # before the checkpoints: without it none of them can be scored
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(30),
            downloads=1,
        params:
            source=source_of(RUN),
            location=location_of(RUN),
            repository=SUITE.tokenizer.get("repository"),
            folder=subpath(output.tokenizer, parent=True),
        shell:
            "python -m workflow_scripts.storage.download --source {params.source:q} --location={params.location:q}"
            " --kind model --repository {params.repository:q} --revision main --include tokenizer.json"
            " --output-dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


if SUITE.tokenizer["source"] == "trained":

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
            mem_mb=grows(1000),
            runtime=lasts(20),
        params:
            vocab_size=SUITE.tokenizer["vocab_size"],
        shell:
            "python -m workflow_scripts.dataset.train_tokenizer --corpus {input.corpus:q}"
            " --vocab-size {params.vocab_size:q} --output {output.tokenizer:q} > {log:q} 2>&1"


if SUITE.is_made_here:

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
            prefix=subpath(output.tokens, strip_suffix=".bin"),
        shell:
            "python -m workflow_scripts.dataset.tokenize_corpus --corpus {input.corpus:q}"
            " --tokenizer {input.tokenizer:q} --append-eod --output-prefix {params.prefix:q} > {log:q} 2>&1"

    for DATASET in SUITE.datasets.values():

        rule:
            """Tokens cut into shards in the local mirror, as on the Hub; the list of hashes is written last."""
            name:
                f"publish_dataset_{DATASET.key}"
            input:
                tokens=f"results/corpus/{SUITE.name}/{DATASET.key}.bin",
                index=f"results/corpus/{SUITE.name}/{DATASET.key}.idx",
            output:
                files=expand(
                    "results/mirror/datasets/{repository}/{file}",
                    repository=DATASET.repository,
                    file=DATASET.file_names,
                ),
                hashes=f"results/mirror/datasets/{DATASET.repository}/sha256.txt",
            log:
                f"results/logs/publish_dataset/{SUITE.name}-{DATASET.key}.log",
            benchmark:
                f"results/timings/publish_dataset/{SUITE.name}-{DATASET.key}.tsv"
            conda:
                "../envs/conda.yaml"
            resources:
                mem_mb=grows(500),
                runtime=lasts(10),
            params:
                prefix=subpath(input.tokens, strip_suffix=".bin"),
                name=DATASET.prefix,
                shards=DATASET.shards,
                folder=subpath(output.hashes, parent=True),
            shell:
                "python -m workflow_scripts.dataset.publish_shards --prefix {params.prefix:q} --name {params.name:q}"
                " --num-shards {params.shards:q} --output-dir {params.folder:q} > {log:q} 2>&1"


if not SUITE.is_made_here:

    rule list_dataset_files:
        """Every file of a data set with its sha256: from the list in the repository, else from what the source reports."""
        input:
            lock=dataset.lock_of(SUITE),
        output:
            files="results/data/{suite}/{dataset}/files.tsv",
        log:
            "results/logs/list_dataset_files/{suite}-{dataset}.log",
        benchmark:
            "results/timings/list_dataset_files/{suite}-{dataset}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(30),
            downloads=1,
        params:
            source=RUN.section("dataset").get("source"),
            location=RUN.section("dataset").get("location") or "",
            revision=RUN.section("dataset").get("revision", "main"),
            repository=of_data("{repository}"),
            include=of_data("{prefix}*"),
            lock=lambda wildcards, input: ["--lock", input.lock] if input.lock else [],
        shell:
            "python -m workflow_scripts.storage.make_lock --source {params.source:q} --location={params.location:q}"
            " --kind dataset --repository {params.repository:q} --revision {params.revision:q} {params.lock:q}"
            " --include {params.include:q} --output {output.files:q} > {log:q} 2>&1"


rule download_dataset_file:
    """One shard, or the index, from the run's source, hashed while it streams; an interrupted one is resumed."""
    input:
        list=FILE_LIST,
        mirror=ancient(MIRRORED_FILE),
    output:
        file="results/data/{suite}/{dataset}/raw/{file}",
    log:
        "results/logs/download_dataset_file/{suite}-{dataset}-{file}.log",
    benchmark:
        "results/timings/download_dataset_file/{suite}-{dataset}-{file}.tsv"
    wildcard_constraints:
        file=alternatives(dataset.file_names(SUITE)),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(240),
        downloads=1,
    params:
        source=RUN.section("dataset").get("source"),
        location=RUN.section("dataset").get("location") or "",
        revision=RUN.section("dataset").get("revision", "main"),
        repository=of_data("{repository}"),
        folder=subpath(output.file, parent=True),
    shell:
        "python -m workflow_scripts.storage.download --source {params.source:q} --location={params.location:q}"
        " --kind dataset --repository {params.repository:q} --revision {params.revision:q}"
        " --lock {input.list:q} --include {wildcards.file:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule verify_dataset:
    """Every file against its size and sha256, read back from the disk."""
    input:
        list=FILE_LIST,
        files=of_data("results/data/{suite}/{dataset}/raw/{file}"),
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
        folder="results/data/{suite}/{dataset}/raw",
    shell:
        "python -m workflow_scripts.storage.verify --folder {params.folder:q} --lock {input.list:q}"
        " --jobs {threads} --receipt {output.receipt:q} > {log:q} 2>&1"


rule view_dataset:
    """The shards as one virtual array: nothing is copied."""
    input:
        list=FILE_LIST,
        verified=ancient("results/data/{suite}/{dataset}/verified.json"),
        index=ancient(of_data("results/data/{suite}/{dataset}/raw/{index}")),
        shards=ancient(of_data("results/data/{suite}/{dataset}/raw/{shard}")),
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
    shell:
        "python -m workflow_scripts.dataset.make_view --idx {input.index:q} --shards {input.shards:q}"
        " --output {output.view:q} > {log:q} 2>&1"


rule join_dataset:
    """One joined `.bin`, only for tools that want one."""
    input:
        list=FILE_LIST,
        verified=ancient("results/data/{suite}/{dataset}/verified.json"),
        index=ancient(of_data("results/data/{suite}/{dataset}/raw/{index}")),
        shards=ancient(of_data("results/data/{suite}/{dataset}/raw/{shard}")),
    output:
        tokens="results/data/{suite}/{dataset}/joined/{prefix}.bin",
        index="results/data/{suite}/{dataset}/joined/{prefix}.idx",
        receipt="results/data/{suite}/{dataset}/joined/{prefix}.joined.json",
    log:
        "results/logs/join_dataset/{suite}-{dataset}-{prefix}.log",
    benchmark:
        "results/timings/join_dataset/{suite}-{dataset}-{prefix}.tsv"
    wildcard_constraints:
        prefix=alternatives(dataset.prefixes(SUITE)),
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(1440),
    params:
        first=lambda wildcards, input: input.shards[0],
        number=lambda wildcards: SUITE.dataset(wildcards.dataset).shards,
        folder=subpath(output.tokens, parent=True),
    shell:
        "python -m workflow_scripts.dataset.unshard_memmap --input-file {params.first:q} --num-shards {params.number:q}"
        " --lock {input.list:q} --output-dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


# GPT-NeoX writes the numbers that decide the order into the names of its maps, so each data set has a rule of its own.
for KEY in RUN.datasets:

    rule:
        """GPT-NeoX's three maps: which documents, where each sample starts, in which order the samples come."""
        name:
            f"index_maps_{KEY}"
        input:
            view="results/data/{suite}/{dataset}/view.json",
            index=ancient(of_data("results/data/{suite}/{dataset}/raw/{index}")),
        output:
            maps=expand(
                "results/data/{{suite}}/{{dataset}}/index_maps/{map}",
                map=chain(*dataset.maps_of(RUN, KEY).values()),
            ),
            list="results/data/{suite}/{dataset}/index_maps/index_maps.json",
        log:
            "results/logs/index_maps/{suite}-{dataset}.log",
        benchmark:
            "results/timings/index_maps/{suite}-{dataset}.tsv"
        wildcard_constraints:
            dataset=KEY,
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(4000),
            runtime=lasts(60),
        params:
            prefix=of_data("{prefix}"),
            length=dataset.order_of(RUN, KEY).seq_length,
            seed=dataset.order_of(RUN, KEY).seed,
            iterations=dataset.order_of(RUN, KEY).iterations,
            rows=dataset.order_of(RUN, KEY).batch_rows,
            folder=subpath(output.list, parent=True),
        shell:
            "python -m workflow_scripts.dataset.build_index_maps --view {input.view:q} --prefix {params.prefix:q}"
            " --seq-length {params.length:q} --seed {params.seed:q} --train-iters {params.iterations:q}"
            " --batch-size {params.rows:q} --output-dir {params.folder:q} --summary {output.list:q} > {log:q} 2>&1"


rule sample_batches:
    """A few batches of the training order, decoded, with the hash of each."""
    input:
        view="results/data/{suite}/{dataset}/view.json",
        files=ancient(of_data("results/data/{suite}/{dataset}/raw/{file}")),
        maps=ancient(of_data("results/data/{suite}/{dataset}/index_maps/{train_map}")),
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
        mem_mb=grows(1000),
        runtime=lasts(10),
    params:
        shown=RUN.section("dataset").get("sample_iterations", [0]),
        length=lambda wildcards: dataset.order_of(RUN, wildcards.dataset).seq_length,
        seed=lambda wildcards: dataset.order_of(RUN, wildcards.dataset).seed,
        iterations=lambda wildcards: dataset.order_of(RUN, wildcards.dataset).iterations,
        rows=lambda wildcards: dataset.order_of(RUN, wildcards.dataset).batch_rows,
        folder="results/data/{suite}/{dataset}/index_maps",
    shell:
        "python -m workflow_scripts.dataset.sample_batches --view {input.view:q} --index-maps {params.folder:q}"
        " --tokenizer {input.tokenizer:q} --seq-length {params.length:q} --seed {params.seed:q}"
        " --train-iters {params.iterations:q} --batch-size {params.rows:q} --iterations {params.shown:q}"
        " --output {output.samples:q} > {log:q} 2>&1"


# A profile says so with a resource, because a key of the configuration would be part of the run.
if workflow.global_resources.get("downloads_here").value is not None:

    localrules:
        download_dataset_file,

    if not SUITE.is_made_here:

        localrules:
            list_dataset_files,

    if SUITE.tokenizer["source"] == "released":

        localrules:
            fetch_tokenizer,

    if BOOKS:

        localrules:
            fetch_book,
