"""Providers: the verbs each vendor implements, and the code that runs them over HTTP."""
