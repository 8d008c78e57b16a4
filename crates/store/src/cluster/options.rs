//! How a cluster's store is reached, as `--cluster-store-opt KEY=VALUE` gives it.
//!
//! Owns which keys there are and which exclude one another. Files are read by the
//! methods that say so; secrets are never shown.

use super::ClusterError;
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
use std::sync::{Mutex, PoisonError};
use std::{collections::BTreeMap, fmt};

/// All keys that any store knows.
const KEYS: [&str; 8] = [
    "tls.ca",
    "tls.cert",
    "tls.key",
    "user",
    "password",
    "password-file",
    "token",
    "token-file",
];

/// The options as they were given: known keys, each once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    given: BTreeMap<&'static str, String>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.given.keys()).finish()
    }
}

/// The files of an encrypted connection, in PEM.
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The authorities that a server's certificate must come from.
    pub(crate) ca: Vec<u8>,
    /// Our own certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What options say by files, read again whenever it is needed: secrets and certificates change.
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
pub(crate) struct Fresh<T> {
    options: Options,
    read: fn(&Options) -> Result<T, ClusterError>,
    /// What could be read last.
    last: Mutex<T>,
}

#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
impl<T: Clone> Fresh<T> {
    /// Reads for the first time.
    pub(crate) fn new(
        options: &Options,
        read: fn(&Options) -> Result<T, ClusterError>,
    ) -> Result<Self, ClusterError> {
        Ok(Self {
            options: options.clone(),
            read,
            last: Mutex::new(read(options)?),
        })
    }

    /// As it is now; what cannot be read, as while a file is replaced, as it was last.
    pub(crate) fn get(&self) -> T {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(now) = (self.read)(&self.options) {
            *last = now;
        }
        last.clone()
    }
}

impl Options {
    /// Parses `KEY=VALUE`s.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] that names what is unknown, empty, given twice, or lacks another.
    pub fn parse<T: AsRef<str>>(pairs: impl IntoIterator<Item = T>) -> Result<Self, ClusterError> {
        let mut given = BTreeMap::new();
        for pair in pairs {
            let pair = pair.as_ref();
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| lacks_value(pair))?;
            let known = KEYS
                .into_iter()
                .find(|&known| known == key)
                .ok_or_else(|| setting(key, &format!("unknown: use {}", KEYS.join(", "))))?;
            if value.is_empty() {
                return Err(setting(key, "its value is empty"));
            }
            if given.insert(known, value.to_owned()).is_some() {
                return Err(setting(key, "it is given twice"));
            }
        }
        let options = Self { given };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), ClusterError> {
        let has = |key| self.given.contains_key(key);
        for (one, other) in [("password", "password-file"), ("token", "token-file")] {
            if has(one) && has(other) {
                return Err(setting(other, &format!("{one} is given too: use one")));
            }
        }
        let password = has("password") || has("password-file");
        for (there, key, missing) in [
            (
                has("user") && !password,
                "user",
                "password or password-file",
            ),
            (password && !has("user"), "password", "user"),
            (has("tls.cert") && !has("tls.key"), "tls.cert", "tls.key"),
            (has("tls.key") && !has("tls.cert"), "tls.key", "tls.cert"),
            (has("tls.cert") && !has("tls.ca"), "tls.cert", "tls.ca"),
        ] {
            if there {
                return Err(setting(key, &format!("it needs {missing} too")));
            }
        }
        Ok(())
    }

    /// Refuses what a store does not know.
    pub(crate) fn only(&self, store: &str, known: &[&str]) -> Result<(), ClusterError> {
        match self.given.keys().find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) => Err(setting(
                key,
                &format!("{store} knows only {}", known.join(", ")),
            )),
        }
    }

    /// What an encrypted connection needs, where one is wanted. Reads the files.
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    pub(crate) fn tls(&self) -> Result<Option<Tls>, ClusterError> {
        let Some(ca) = self.file("tls.ca")? else {
            return Ok(None);
        };
        Ok(Some(Tls {
            ca,
            identity: self.file("tls.cert")?.zip(self.file("tls.key")?),
        }))
    }

    /// The user and its password. Reads the file.
    #[cfg(any(feature = "etcd", feature = "zookeeper"))]
    pub(crate) fn user(&self) -> Result<Option<(String, String)>, ClusterError> {
        let user = self.given.get("user").cloned();
        Ok(user.zip(self.secret("password", "password-file")?))
    }

    /// The token of Consul's access control. Reads the file.
    #[cfg(feature = "consul")]
    pub(crate) fn token(&self) -> Result<Option<String>, ClusterError> {
        self.secret("token", "token-file")
    }

    /// Whether the files of secrets can be read and used.
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    pub(crate) fn check_secrets(&self) -> Result<(), ClusterError> {
        self.secret("password", "password-file")?;
        self.secret("token", "token-file").map(drop)
    }

    /// What an option was given as.
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.given.get(key).map(String::as_str)
    }

    /// Whether it names files.
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    pub(crate) fn has_files(&self) -> bool {
        let file = |key: &&str| key.starts_with("tls.") || key.ends_with("-file");
        self.given.keys().any(file)
    }

    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    /// A secret by itself, or the first line of a file.
    fn secret(
        &self,
        direct: &'static str,
        file: &'static str,
    ) -> Result<Option<String>, ClusterError> {
        if let Some(secret) = self.given.get(direct) {
            return Ok(Some(secret.clone()));
        }
        let Some(bytes) = self.file(file)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).map_err(|_| setting(file, "the file is no text"))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Some(line.to_owned())),
            _ => Err(setting(file, "the file's first line is empty")),
        }
    }

    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    fn file(&self, key: &'static str) -> Result<Option<Vec<u8>>, ClusterError> {
        let Some(path) = self.given.get(key) else {
            return Ok(None);
        };
        std::fs::read(path)
            .map(Some)
            .map_err(|error| setting(key, &format!("{path}: {error}")))
    }
}

/// What stands without a value may be a secret.
fn lacks_value(text: &str) -> ClusterError {
    match KEYS.into_iter().find(|&known| known == text) {
        Some(key) => setting(key, "it lacks a value: KEY=VALUE"),
        None => setting("…", "one is not of the form KEY=VALUE"),
    }
}

pub(crate) fn setting(option: &str, reason: &str) -> ClusterError {
    ClusterError::Setting {
        option: option.to_owned(),
        reason: reason.to_owned(),
    }
}
