//! Queries to a resolver: as many as go, and how long each takes.
