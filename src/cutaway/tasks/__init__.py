"""What models are used for: so far, how well one predicts a text (`evaluate`), and vectors of texts (`embed`)."""
