-- With what the server can promise as of now, in the same round trip.
select
    l.*, current_setting('synchronous_standby_names'),
    (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')),
    (select count(*) from pg_stat_replication where sync_state is null)
from {schema}.renew_lease_1($1, $2, $3) as l
