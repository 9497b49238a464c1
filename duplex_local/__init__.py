"""The engine: slice protocol, KV sequence, session, scheduler."""
