"""Where bytes come from: the Hub, git with LFS, a local mirror."""
