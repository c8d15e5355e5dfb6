select id from {schema}.run where wake_us = 0 and partition = any ($1::int[])
