"""The findings of Sutskever et al. 2014 at a small size: each is checked by trained models, with a table and a plot."""

NAMES = ("reversal", "ensembles", "depth", "minibatches", "rescoring", "lengths", "ranks", "sentence_vectors")
NAMES += ("clipping", "successors")
