"""Readers of published data sets, in the form in which their authors publish them."""
