"""Slurm as the workflow uses it: jobs that survive outages of the controller and restarts of Snakemake."""
