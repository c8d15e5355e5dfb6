select b.hash, b.data from json_each(?1) as h cross join blob as b on b.hash = h.value
