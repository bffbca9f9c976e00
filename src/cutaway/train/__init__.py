"""Training: a recipe becomes a run directory of events and checkpoints, and in the end a model.

recipe · prepare (tokenizer, corpora) · step (one update) · loop (the run) · optimise · state and run_directory (what is kept) ·
events (what is written) · display and curves (what only reads them) · score (how well a text is predicted) · machine.
"""
