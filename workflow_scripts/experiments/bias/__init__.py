"""Gender bias: items, rewriting, the published effect."""
