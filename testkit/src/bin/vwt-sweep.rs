//! Removes what interrupted test runs left: `vwt-…` namespaces, processes and folders.

fn main() {
    vw_testkit::sweep();
}
