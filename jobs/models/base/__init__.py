"""Types and functions that the files of models share: training data, searches, scores, and the two engines of ALS."""
