"""Models as ONNX graphs, for runtimes other than TensorFlow."""
