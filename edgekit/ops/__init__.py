"""Operators with no ATen form, one a file: a `torch.library` operator with a pure-PyTorch definition."""
