"""The made-up world of the pocket suite: documents and test items from one seed."""
