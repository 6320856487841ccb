"""The controlled world: generators, traces with roles, corpora, verifier, tokenizer, zones."""
