//! What is said where certificates are not taken.

use super::*;

#[test]
fn who_does_not_take_a_certificate_is_told_what_to_look_at() {
    let cases = [
        (
            Error::InvalidCertificate(Certificate::BadSignature),
            "tls.ca",
        ),
        (
            Error::InvalidCertificate(Certificate::UnknownIssuer),
            "tls.ca",
        ),
        (
            Error::InvalidCertificate(Certificate::NotValidForName),
            "URL",
        ),
        (Error::AlertReceived(Alert::UnknownCA), "tls.cert"),
        (Error::AlertReceived(Alert::CertificateRequired), "tls.key"),
    ];
    for (error, named) in cases {
        let said = error.to_string();
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        let explained = explained(error).to_string();
        assert!(explained.starts_with(&said), "{explained}");
        assert!(explained[said.len()..].contains(named), "{explained}");
    }
    for error in [
        io::Error::other(Error::HandshakeNotComplete),
        io::ErrorKind::TimedOut.into(),
    ] {
        let (kind, said) = (error.kind(), error.to_string());
        let same = explained(error);
        assert_eq!((same.kind(), same.to_string()), (kind, said));
    }
}
