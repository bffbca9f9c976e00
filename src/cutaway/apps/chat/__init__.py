"""A conversation at a terminal or through a pipe: talk (what is said), commands (/retry …), screen (how it is shown)."""
