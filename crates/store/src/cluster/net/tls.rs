//! TLS as a store's options want it: the given authorities, and our own certificate.
//!
//! Owns the reading of PEM and nothing else; the system's authorities are never trusted, since a
//! cluster's store has its own.

use super::super::{
    ClusterError,
    options::{Tls, setting},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::sync::Arc;

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
