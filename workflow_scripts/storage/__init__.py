"""Bytes in and out: atomic writes, records, verified resumable download, git LFS, mirrors, locks."""
