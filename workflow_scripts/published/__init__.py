"""Importers and audit of the published results."""
