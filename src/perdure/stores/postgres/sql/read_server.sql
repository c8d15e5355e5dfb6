-- The server as it is now: whether it is another than before, and what it can promise.
select
    (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint as started,
    case when pg_is_in_recovery() then 'standby' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline,
    current_setting('server_version_num')::int as version,
    current_setting('server_encoding') as encoding,
    current_setting('fsync') = 'on' as syncs,
    current_setting('synchronous_standby_names') as standbys_named,
    (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')) as standbys,
    -- Who may not look sees the rows and nothing in them.
    (select count(*) from pg_stat_replication where sync_state is null) as standbys_hidden
