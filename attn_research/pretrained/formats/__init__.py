"""Containers of published weights: safetensors, PyTorch's files, GGUF and CTranslate2.

A reader gives tensors by name and knows no model. It trusts nothing in a file: no pickle is loaded,
and every size is compared with that of the file before memory is taken for it. A ValueError names
the file, and the tensor where there is one.
"""
