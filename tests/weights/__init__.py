"""Tests of weights/: checkpoints, families, files that are whole or not there."""
