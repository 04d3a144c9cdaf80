"""The call ledger in PostgreSQL: migrations, an embedded server, a write-behind writer. Does not import sipua."""
