"""Lessons as people read them. In: a `Lesson`. Out: text and figures in a terminal."""
