"""Tests, one folder per folder of the package; `tiny` makes small models, `reference` holds slow twins."""
