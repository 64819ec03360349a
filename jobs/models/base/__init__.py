"""What models share: training data, searches, scores, and the two engines of ALS."""
