"""What models are used for, and how well they do it.

answer (questions on a context) · chat (conversations) · evaluate (how well one predicts a text) · embed (vectors of texts) ·
score (log-likelihoods, choices) · metrics (BLEU, chrF, ROUGE, answers, accuracy) · resample (intervals and significance) ·
report (what an evaluation found) · compare (reports side by side) · show (both in a terminal) · baselines (of summaries) ·
harness (for lm-evaluation-harness).
"""
