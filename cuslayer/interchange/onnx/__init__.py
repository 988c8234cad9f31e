"""Networks of numbers in ONNX files, as torch, Keras and scikit-learn write them: read."""
