-- The rows of a part of a table that may refer to a blob. The text is a blob of SQLite's, so what is looked for has to be one too.
select {owner}, {text} from {table} where rowid > ?1 and rowid <= ?2 and instr({text}, cast('"blob":"' as blob))
