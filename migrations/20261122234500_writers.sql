-- Who writes: how far each process's rows have come, and when it was last heard of.
--
-- ``seq`` moves in the transaction of the rows it stands for, so nothing is written twice whatever was cut off. NOT NULL
-- is part of that: the writer sets NULL for rows that are there already, which ends their transaction.
-- Adds only; may run again. PostgreSQL 15 to 18. Never edit this file once released: add another.

CREATE TABLE IF NOT EXISTS sipua.writers (
  instance uuid PRIMARY KEY,
  seq bigint NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now()
);
SELECT sipua.secure();
