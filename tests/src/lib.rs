//! Nothing: the tests of this package are in `tests/`, and what they stand on is in
//! `vw-testkit`.
