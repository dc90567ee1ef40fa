"""Looks into a run and a model. The parts are imported by name: `from keras_seq.inspection import plots`."""
