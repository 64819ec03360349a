"""The measured claims: each benchmark runs both sides of its comparison in one go and prints the ratio."""
