"""Pretokenised data: `.idx/.bin`, shards as one array, the training order, batches, look-ups, tokenising."""
