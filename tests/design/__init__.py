"""The design's rules, each a check over a tree of files, and each shown to find what it forbids."""
