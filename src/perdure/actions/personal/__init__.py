"""Personal data: tokens in its place, and the way back."""
