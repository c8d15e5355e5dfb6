-- Who refers to a blob, so that it can go with the last of them. An owner is a run, or the id of a reply.
create table blob_use (hash text, owner text, is_reply int not null, primary key (hash, owner, is_reply)) without rowid;
create index blob_use_by_owner on blob_use (owner, is_reply);

-- Nobody wrote down who refers to the blobs that are there: an owner that is never pruned keeps them.
insert into blob_use select hash, '', 0 from blob;
