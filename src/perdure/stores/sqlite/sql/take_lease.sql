update lease set epoch = epoch + 1, node = ?1, until_us = ?2 returning epoch
