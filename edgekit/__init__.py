"""edgekit: PyTorch models made for phones, as ONNX, Core ML and ExecuTorch artifacts that are proven right and measured."""

__version__ = "0.1.0"
