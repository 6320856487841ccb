"""The record of what was answered: columnar schema, Parquet store, readers of other tools' logs."""
