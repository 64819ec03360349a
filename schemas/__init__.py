"""The contract: tables, manifest, settings and errors, each declared once."""
