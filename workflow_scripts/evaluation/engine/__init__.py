"""Forward passes over packed prefix trees."""
