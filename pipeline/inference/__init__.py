"""Running a trained model over scans: reader processes, sliding window, predictor."""
