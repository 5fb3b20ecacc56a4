"""Pictures, videos and files as NumPy arrays and paths; nothing here imports Keras or TensorFlow."""
