//! The text of ids.

use super::*;
use proptest::prelude::*;

#[test]
fn refused_texts() {
    let sixty_four = |first: &str| format!("{first:0<64}");
    for text in [
        String::new(),
        "abc".to_owned(),
        sixty_four("+f"),
        sixty_four("-1"),
        sixty_four("g"),
        sixty_four("é")[..64].to_owned(),
        format!("{:0<65}", "a"),
    ] {
        assert_eq!(text.parse::<Id>(), Err(ParseIdError(text.clone())));
    }
}

#[test]
fn short_forms() {
    let id = NetworkId::from_bytes([0xab; 32]);
    assert_eq!(id.short(), "abababababab");
    assert_eq!(format!("{id:?}"), "abababababab");
}

proptest! {
    #[test]
    fn an_id_survives_its_text(bytes: [u8; 32]) {
        let id = Id::from_bytes(bytes);
        let text = id.to_string();
        prop_assert_eq!(text.len(), 64);
        prop_assert!(text.starts_with(&id.short()));
        prop_assert_eq!(text.parse(), Ok(id));
        prop_assert_eq!(text.to_uppercase().parse(), Ok(id));
    }
}
