update claim set until_us = 0 where position in (
    select c.position from json_each(?1) as w cross join claim as c on c.position = w.value->>0 and c.deliveries = w.value->>1
)
