"""Models behind a port: `keras-seq serve`.

The server itself runs without TensorFlow: it reads requests, joins their inputs by length and writes answers. Each
model has processes of its own, so that one that ends takes no other with it.
"""
