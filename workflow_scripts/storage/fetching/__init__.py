"""Files on their way to the disk: verified, resumable, within the space there is."""
