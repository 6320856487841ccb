"""Records of completions: columnar schema, Parquet store, readers of other tools' logs."""
