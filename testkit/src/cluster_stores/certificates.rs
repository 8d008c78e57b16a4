//! A certificate authority of a test's own, with one certificate for servers and one for clients.
//!
//! Owns their files; made by `openssl`, as an administrator would.

use crate::{Lab, process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The files, in PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them; the server's is for `localhost` and these addresses.
    #[track_caller]
    #[must_use]
    pub fn new(lab: &Lab, name: &str, addresses: &[&str]) -> Self {
        let folder = lab.folder().join(name);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let made = Self { folder };
        made.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
             -subj /CN=test-authority -keyout ca.key -out ca.pem \
             -addext basicConstraints=critical,CA:TRUE",
        );
        let names: String = addresses
            .iter()
            .map(|address| format!(",IP:{address}"))
            .collect();
        made.sign("server", &format!("DNS:localhost{names}"));
        made.sign("client", "DNS:client");
        made
    }

    fn sign(&self, name: &str, names: &str) {
        let extensions = format!(
            "subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n\
             basicConstraints=CA:FALSE\n"
        );
        fs::write(self.folder.join(format!("{name}.ext")), extensions)
            .unwrap_or_else(|error| panic!("{}: {error}", self.folder.display()));
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} \
             -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile {name}.ext -out {name}.pem"
        ));
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split_whitespace())
            .current_dir(&self.folder);
        process::run(&mut command, Command::spawn).must();
    }

    /// A file of theirs: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that they lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
