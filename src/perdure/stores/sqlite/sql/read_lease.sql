select epoch, node, until_us from lease
