"""What models are used for, and how well they do it.

chat (conversations) · translate · summarise (documents of any length, by chunks) · summaries (how good they are) · answer
(questions on a context) · evaluate (how well one predicts a text) · bits (and in fewer bits) · embed (vectors of texts) · score
(log-likelihoods) · choices (by them) · metrics (BLEU, chrF, ROUGE, answers, accuracy) · resample (intervals and significance) ·
report (what an evaluation found) · compare (reports side by side) · show (both in a terminal) · sentences · baselines (of
summaries) · harness (for lm-evaluation-harness).
"""
