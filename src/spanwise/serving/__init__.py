"""A reader over HTTP: one model, many clients, their windows read together.

    server ── app ─┬─ engine      jobs in threads, whose windows share the model's batches
                   ├─ gate        who may ask, how much, and for how long
                   ├─ schemas     requests and answers, and their faults in words
                   ├─ refusals    every error as `{error, error_type}`
                   ├─ listing     the routes for people, without scripts from elsewhere
                   ├─ metrics     what Prometheus reads
                   └─ logs        one JSON object a line, none of it anybody's text

`engine` knows nothing of HTTP. This package knows nothing about how spans are found.
"""
