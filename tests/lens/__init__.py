"""Tests of sites, recorders and traces."""
