"""Training: a run, from a configuration to a folder with a trained model. Command line and pipeline share it."""
