"""The microscope: a model in the browser. In: models on this machine, and what a page asks. Out: a page, and its numbers.

asks (what a page may ask, checked) · wire (answers on their way out) · shelf (models that are open) · reading (text -> tokens) ·
passes (one run and what it recorded) · attended (weights of heads, on demand) · desk (runs that are kept) · routes (an ask ->
its answer) · opening (what is asked before all of that stands) · guard (who may ask) · server (HTTP).
docs/reference/microscope.md is the protocol.
"""
