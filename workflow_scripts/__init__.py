"""The Pythia suite as one reproducible graph: the programs and the library behind the Snakemake rules."""
