-- The bank: what the workflows change, in the database of the store. Money is neither made nor lost: each account has what it began with
-- and what its entries say.
create schema bank;

create table bank.account (id int primary key, began_with int not null, balance int not null check (balance >= 0), is_open boolean not null);

-- What was done or refused, in the order in which it was. Nothing here keeps a second entry of one key out: that is the engine's promise
-- for transactional actions, and for others what `claim` is for.
create table bank.entry (
    position bigint generated always as identity primary key,
    key text not null, run text not null, kind text not null, account int not null, amount int not null, attempt int not null,
    node text not null, is_done boolean not null, at timestamptz not null default clock_timestamp()
);
create index on bank.entry (run);

create table bank.claim (key text primary key);

-- Orders that were written together with the start of their run.
create table bank.request (run text primary key);

-- The money is moved and an entry says so, or an entry says that it was refused.
create function bank.move(key text, run text, kind text, account int, amount int, attempt int, node text) returns boolean
language plpgsql as $$
declare
    done boolean;
begin
    update bank.account as a set balance = balance + move.amount
    where a.id = move.account and a.balance + move.amount >= 0 and (a.is_open or kind = 'undo');
    done := found;
    insert into bank.entry (key, run, kind, account, amount, attempt, node, is_done)
    values (move.key, move.run, move.kind, move.account, move.amount, move.attempt, move.node, done);
    return done;
end
$$;

-- The same for whoever may ask twice: the first answer for a key stands, a refusal too.
create function bank.move_once(key text, run text, kind text, account int, amount int, attempt int, node text) returns boolean
language plpgsql as $$
begin
    insert into bank.claim values (move_once.key) on conflict do nothing;
    if found then
        return bank.move(key, run, kind, account, amount, attempt, node);
    end if;
    return (select e.is_done from bank.entry as e where e.key = move_once.key);
end
$$;
