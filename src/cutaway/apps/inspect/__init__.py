"""The way of a prompt, shown. In: a `lens.Way`. Out: text for a terminal (terminal, card) or one HTML file (html)."""
