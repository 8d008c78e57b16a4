//! The forms of keys and addresses.

use super::*;

#[test]
fn a_key_is_written_as_wg_writes_it() {
    // `printf '\000\001…\037' | base64`, and all ones.
    let counted = PublicKey::from_bytes(std::array::from_fn(|at| at as u8));
    for (key, text) in [
        (counted, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        (
            PublicKey::from_bytes([255; 32]),
            "//////////////////////////////////////////8=",
        ),
        (
            PublicKey::from_bytes([0; 32]),
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
    ] {
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
    }
}

#[test]
fn what_is_no_key_is_refused() {
    for text in [
        "",
        "=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh==",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A=",
        "*AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "äAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ] {
        assert_eq!(
            text.parse::<PublicKey>(),
            Err(ParsePublicKeyError(text.to_owned()))
        );
    }
}

#[test]
fn an_inner_address_comes_from_the_id_alone() {
    let host = |first: u8| {
        HostId::from_bytes(std::array::from_fn(
            |at| if at == 0 { first } else { at as u8 },
        ))
    };
    assert_eq!(
        inner_address(host(0xab)).to_string(),
        "fd76:6574:6877:ab01:203:405:607:809"
    );
    assert_ne!(inner_address(host(1)), inner_address(host(2)));
    for (addr, expected) in [
        ("fd76:6574:6877:ab01::1", true),
        ("fd76:6574:6878::1", false),
        ("2001:db8::1", false),
        ("192.0.2.1", false),
    ] {
        assert_eq!(is_inner(addr.parse().unwrap()), expected, "{addr}");
    }
}
