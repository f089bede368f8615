"""Tests: one file a stage; data, tokenizers and models are made by the tests themselves."""
