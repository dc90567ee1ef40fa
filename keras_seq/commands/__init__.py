"""The verbs of the command line, one file a verb or a family of them.

A verb is a dataclass of options and a function of it. What it needs of TensorFlow is imported inside the function.
"""
