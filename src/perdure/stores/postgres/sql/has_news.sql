-- What is visible now and was not in the snapshot $2. Positions would not do: a lower one may become visible after a higher one.
select
    pg_current_snapshot()::text as seen,
    exists (
        select 1 from {schema}.inbox as i
        where i.arrived >= pg_snapshot_xmin($2::text::pg_snapshot) and not pg_visible_in_snapshot(i.arrived, $2::text::pg_snapshot)
            and i.partition = any ($1::int[]) and i.writer <> $3
    ) or exists (
        select 1 from {schema}.run as r
        where r.told >= pg_snapshot_xmin($2::text::pg_snapshot) and not pg_visible_in_snapshot(r.told, $2::text::pg_snapshot)
            and r.partition = any ($1::int[])
    ) as news
