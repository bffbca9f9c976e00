"""Small handwritten digits, and a network that takes noise off them. In: a digit's name. Out: an 8 × 8 image.

images (the real ones) · noise (what is added, and how it is taken off) · denoiser (the network, with its trained weights)
"""
