"""podnet next to libcni, the bare system and the reference plugins: medians of one run."""
