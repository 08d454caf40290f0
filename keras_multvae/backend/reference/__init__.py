"""The functions of a backend in keras.ops; a new backend starts from a copy."""
