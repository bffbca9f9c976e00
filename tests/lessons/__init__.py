"""Lessons: their numbers against a second computation, and each one's own test made to fail."""
