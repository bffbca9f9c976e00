"""The tools of benchmarks/, not the figures: nothing here is timed."""
