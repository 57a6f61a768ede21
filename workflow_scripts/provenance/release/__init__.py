"""A release that proves itself: the manifest that seals a run, and the checks that a stranger makes with it."""
