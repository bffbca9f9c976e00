"""What models are used for: conversations (`chat`), how well one predicts a text (`evaluate`), vectors of texts (`embed`)."""
