insert or replace into setting values (?1, ?2)
