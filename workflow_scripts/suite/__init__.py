"""What is what: models, data sets, steps, names, and what a run may ask for. Imports no other stage."""
