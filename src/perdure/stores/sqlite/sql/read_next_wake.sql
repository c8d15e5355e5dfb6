select min(wake_us) from run where wake_us > 0
