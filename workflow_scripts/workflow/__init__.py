"""The roof: one module per rules file, resources and costs, and the tools around a run."""
