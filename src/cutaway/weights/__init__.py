"""Checkpoint <-> model. In: a Hugging Face directory. Out: a model with its weights, and the other way round.

checkpoint (save, load) · shards and tensor_file (bytes <-> tensors, headers checked before anything is allocated) · names and
layout (whose tensor is called what, and how it lies in the file) · families (config.json <-> config; the only place that knows
family names) · train_state (what a run needs beside the weights) · atomic (files that are whole or not there).
"""
