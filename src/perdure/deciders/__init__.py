"""Pure rules: journal and stimuli in, commands out. No I/O, no clock, no chance."""
