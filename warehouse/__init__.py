"""Storage: paths, Parquet, SQLite, the life of a release, SQL text."""
