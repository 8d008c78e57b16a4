//! Paths and queries as they are sent.

use super::Request;

#[test]
fn targets_are_escaped() {
    let request = Request::get(&["images", "a/b:c d?", "json"])
        .query("k", "a&b=c+ü")
        .flag("no", false)
        .flag("yes", true)
        .option("t", Some(3))
        .option("u", None::<u8>);
    assert_eq!(
        request.target(),
        "/images/a/b:c%20d%3F/json?k=a%26b%3Dc%2B%C3%BC&yes=1&t=3"
    );
}

#[test]
fn filters_are_sets_by_key() {
    let filters = ["a", "b"].map(|value| ("label".to_owned(), value.to_owned()));
    let request = Request::get(&["networks"]).filters(&filters);
    assert_eq!(
        request.target(),
        "/networks?filters=%7B%22label%22:%7B%22a%22:true%2C%22b%22:true%7D%7D"
    );
}
