-- A blob of a file that had no table of uses is marked by an owner without a name; see adoption.py.
select 1 from blob_use where owner = '' and is_reply = 0 limit 1
