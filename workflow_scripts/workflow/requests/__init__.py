"""What jobs ask of a cluster: its description, the arithmetic of trainings, and jobs that have no place."""
