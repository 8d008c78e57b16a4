//! TLS as a store's options want it: the given authorities, and our own certificate.
//!
//! Owns the reading of PEM and nothing else; the system's authorities are never trusted, since a
//! cluster's store has its own.

use super::super::{
    ClusterError,
    options::{Tls, setting},
};
use rustls::{
    AlertDescription as Alert, CertificateError as Certificate, ClientConfig, Error, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{io, sync::Arc};

pub(super) fn configure(tls: &Tls) -> Result<Arc<ClientConfig>, ClusterError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.ca", &tls.ca)? {
        roots
            .add(certificate)
            .map_err(|error| setting("tls.ca", &error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setting("tls.ca", &error.to_string()))?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| setting("tls.key", &format!("no key in PEM: {error}")))?;
            builder
                .with_client_auth_cert(certificates("tls.cert", chain)?, key)
                .map_err(|error| setting("tls.cert", &error.to_string()))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(option: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| setting(option, &format!("no certificate in PEM: {error}")))?;
    if found.is_empty() {
        return Err(setting(option, "the file has no certificate in PEM"));
    }
    Ok(found)
}

/// Where one end does not take the other's certificate, what to look at besides.
pub(super) fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let remedy = match inner {
        Some(Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => "name the server in the store's URL as its certificate does",
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature)) => {
            "check that option tls.ca names a file with the authority of the server's certificate"
        }
        Some(Error::AlertReceived(
            Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateUnknown
            | Alert::UnknownCA,
        )) => "check that options tls.cert and tls.key name a certificate that the server takes",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}: {remedy}"))
}

#[cfg(test)]
mod tests;
