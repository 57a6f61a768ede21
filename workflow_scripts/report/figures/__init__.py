"""The figures themselves, one function each."""
