"""Rules of the audit of published results."""
