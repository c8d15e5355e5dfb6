-- Only the first $3 + $4 are looked at, so that a round takes its time and no more, however many there are.
with first as (
    select p.id, p.position, p.at_us from {schema}.packet as p where p.address = $1 order by p.rank, p.position limit $3::bigint + $4::int
), aged as (
    select f.*, row_number() over (order by f.at_us desc, f.position desc) as age from first as f
), old as (
    select a.id, a.position from aged as a where a.at_us < $2::bigint or a.age > $3::bigint order by a.at_us, a.position limit $4::int
), gone as (
    delete from {schema}.packet as p using old as o where p.address = $1 and p.id = o.id and p.position = o.position returning 1
)
select count(*) from gone
