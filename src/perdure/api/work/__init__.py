"""Calls and workers over HTTP: who performs actions, in whichever language, and how calls end."""
