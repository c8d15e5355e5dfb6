-- Only the first ?3 + ?4 are looked at, so that a round takes its time and no more, however many there are.
delete from packet where position in (
    select position from (
        select position, at_us, row_number() over (order by at_us desc, position desc) as age
        from (select position, at_us from packet where address = ?1 order by rank, position limit ?3 + ?4)
    )
    where at_us < ?2 or age > ?3 order by at_us, position limit ?4
)
