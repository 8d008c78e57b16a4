//! Keys: they hide themselves.

use super::*;

#[test]
fn a_key_shows_nothing_of_itself() {
    let mut bytes = [7; 32];
    let key = PrivateKey::from_bytes(&mut bytes);
    assert_eq!(bytes, [0; 32]);
    assert_eq!(*key.to_bytes(), [7; 32]);
    assert_eq!(format!("{key:?}"), "PrivateKey(..)");
}

#[test]
fn the_public_key_is_the_point_times_the_base() {
    // Computed by the ladder of RFC 7748, section 5, written out in another language.
    let public = PrivateKey::from_bytes(&mut [1; 32]).public();
    assert_eq!(
        public.to_string(),
        "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk="
    );
}

#[test]
fn two_keys_are_never_the_same() {
    let [a, b] = [(); 2].map(|()| PrivateKey::generate().unwrap());
    assert_ne!(a.public(), b.public());
}
