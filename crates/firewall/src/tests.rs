//! Golden texts of tables and elements, and the page that shows them.

mod foreign;
mod page;
mod policy;
mod service;
mod table;
