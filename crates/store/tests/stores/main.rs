//! Every store against one suite, and what befalls their files.

mod conformance;
mod files;
mod full_disk;
mod kill;
mod scratch;
