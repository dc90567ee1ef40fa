"""The verbs of the command line, one file for each verb or family of verbs.

A verb is a dataclass of options and a function that takes them. TensorFlow is imported inside the function.
"""
