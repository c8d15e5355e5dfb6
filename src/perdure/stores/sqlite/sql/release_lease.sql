update lease set node = null where epoch = ?1
