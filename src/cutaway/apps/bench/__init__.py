"""`cutaway bench`: how near a model comes to what a machine can do. shapes (what to run) · measure · show · plot."""
