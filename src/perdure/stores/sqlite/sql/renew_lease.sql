update lease set until_us = ?2 where epoch = ?1 and node is not null returning node
