"""The files of a pretokenised data set: ``.idx``, ``.bin``, shards and views of them."""
