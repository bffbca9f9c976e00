"""Tests of the data: sources, the corpus and its cache, packing, the loader, the recipe of the bundled model."""
