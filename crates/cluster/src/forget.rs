//! How a host that will not come back is given up.
//!
//! Deleting its record is all that counts: from then on each of its transactions is refused, and
//! whatever has its name may be taken over. The rest is clearing up, also of the marks of hosts that
//! an older version forgot, which knew none.

use crate::{
    core::{Core, Done, contended},
    keys::{self, Shared},
    record::{self, BlockRecord, ForgottenRecord, GrantRecord, HostRecord, RequestRecord},
};
use std::collections::BTreeMap;
use vw_model::{Error, HostId, Kind, Result, ServiceId};
use vw_store::cluster::{Condition, Record, Write};

/// The most records of one transaction, each with a condition and a write.
const BATCH: usize = 25;

impl Core {
    /// See [`crate::Cluster::forget`].
    pub(crate) fn forget(&self, host: &str) -> Result<()> {
        let (id, found, name) = match self.find_host(host) {
            Err(error) if error.kind == Kind::NotFound => {
                return self.go_on(host).unwrap_or(Err(error));
            }
            found => found?,
        };
        let name = &name;
        if id == self.settings.host {
            let message = format!("host {name} is this host: forget it on another one");
            return Err(Error::new(Kind::Forbidden, "cluster-host-self", message));
        }
        let conditions = vec![
            Condition::Unchanged(found.key.clone(), found.version),
            // It may come back until then.
            self.must_be_dead(id, name)?,
            self.as_it_is(keys::FORGOTTEN)?,
        ];
        let forgotten = record::encode(&ForgottenRecord {
            host: id,
            name: name.clone(),
        });
        let writes = vec![
            Write::Delete(found.key.clone()),
            Write::Put(keys::FORGOTTEN.to_owned(), forgotten),
        ];
        match self.commit(conditions, writes)? {
            Done::Applied => {}
            Done::Refused => {
                self.must_be_dead(id, name)?;
                return Err(contended());
            }
            Done::Uncertain => {
                if self
                    .get(&found.key)?
                    .is_some_and(|now| now.version == found.version)
                {
                    return Err(crate::core::uncertain("forgot the host"));
                }
            }
        }
        self.clear_host(id)?;
        if let Err(error) = self.clear_marks() {
            tracing::debug!("marks of hosts that are no members: {}", error.chain());
        }
        Ok(())
    }

    /// What holds as long as it is.
    fn must_be_dead(&self, id: HostId, name: &str) -> Result<Condition> {
        self.death(id)?.ok_or_else(|| {
            let message = format!(
                "host {name} is alive: stop its daemon first, and wait until `vethwork cluster \
                 status` shows it as dead or away"
            );
            Error::conflict("cluster-host-alive", message)
        })
    }

    /// Clears up after a host that was forgotten, where that was cut off: the last one, or one by
    /// its whole id. Nothing where nothing of it is left.
    fn go_on(&self, host: &str) -> Option<Result<()>> {
        let found = self.find_forgotten(host).transpose()?;
        match found.and_then(|found| self.clear_host(found)) {
            Ok(false) => None,
            cleared => Some(cleared.map(drop)),
        }
    }

    fn find_forgotten(&self, text: &str) -> Result<Option<HostId>> {
        if let Ok(id) = text.parse::<HostId>() {
            // A service's addresses are granted to it as to a host.
            let service = self.get(&Shared::Service(ServiceId(id.0)).key())?;
            return Ok(service.is_none().then_some(id));
        }
        let last = self.get(keys::FORGOTTEN)?;
        // What a newer version wrote there names nobody to this one.
        let last = last.and_then(|last| record::decode::<ForgottenRecord>(&last.value).ok());
        let last = last.filter(|last| {
            last.name == text || (!text.is_empty() && last.host.to_string().starts_with(text))
        });
        Ok(last.map(|last| last.host))
    }

    /// A host by its name, else by its id or the beginning of it, with its name. One whose record cannot be
    /// read is known by its whole id alone, and goes by that.
    fn find_host(&self, text: &str) -> Result<(HostId, Record, String)> {
        let mut matches = Vec::new();
        for found in self.list(keys::HOSTS)? {
            let Some(Shared::Host(id)) = Shared::parse(&found.key) else {
                continue;
            };
            let whole = id.to_string();
            let name = match record::decode::<HostRecord>(&found.value) {
                Ok(known) => known.name,
                Err(_) if whole == text => whole.clone(),
                Err(_) => continue,
            };
            let by_id = !text.is_empty() && whole.starts_with(text);
            if name == text || by_id {
                matches.push((id, found, name));
            }
        }
        // A short name may be how another one's id begins.
        if matches.iter().any(|(_, _, name)| name == text) {
            matches.retain(|(_, _, name)| name == text);
        }
        match matches.len() {
            0 => {
                let message = format!("no such host: {text}: see `vethwork cluster status`");
                Err(Error::not_found("cluster-host-unknown", message))
            }
            1 => Ok(matches.remove(0)),
            _ => {
                let ids: Vec<String> = matches.iter().map(|(id, _, _)| id.short()).collect();
                let message = format!(
                    "several hosts are called {text}: give the id of one: {}",
                    ids.join(", ")
                );
                Err(Error::invalid("cluster-host-ambiguous", message))
            }
        }
    }

    /// Deletes what a forgotten host left, as far as it still is as it was read and the host has
    /// not joined again: then it is the host's, and in use. Says whether there was anything.
    fn clear_host(&self, id: HostId) -> Result<bool> {
        let mut left = Vec::new();
        for prefix in [
            keys::TUNNELS,
            keys::UNPUBLISHED,
            keys::ENDPOINTS,
            keys::BLOCKS,
            keys::GRANTS,
            keys::REQUESTS,
        ] {
            let records = self.list(prefix)?;
            left.extend(records.into_iter().filter(|found| is_of(found, id)));
        }
        left.extend(self.list(&keys::marks(id))?);
        for batch in left.chunks(BATCH) {
            if self.delete_unchanged(id, batch)? != Done::Applied {
                for single in batch.chunks(1) {
                    self.delete_unchanged(id, single)?;
                }
            }
        }
        Ok(!left.is_empty())
    }

    /// Deletes the marks of all hosts that are no members. A host looks at its own while it is one
    /// alone, and writes none before it has joined; one that joins meanwhile keeps its marks, as they
    /// are deleted only while it has no record.
    fn clear_marks(&self) -> Result<()> {
        let mut of_hosts: BTreeMap<HostId, Vec<Record>> = BTreeMap::new();
        for found in self.list(keys::MARKS)? {
            if let Some((host, _)) = keys::parse_mark(&found.key) {
                of_hosts.entry(host).or_default().push(found);
            }
        }
        for found in self.list(keys::HOSTS)? {
            if let Some(Shared::Host(member)) = Shared::parse(&found.key) {
                of_hosts.remove(&member);
            }
        }
        for (host, marks) in of_hosts {
            // Where it has joined by now they are its own.
            self.delete_unchanged(host, &marks)?;
        }
        Ok(())
    }

    fn delete_unchanged(&self, id: HostId, records: &[Record]) -> Result<Done> {
        let keyed = records.iter().map(|found| {
            let condition = Condition::Unchanged(found.key.clone(), found.version);
            (condition, Write::Delete(found.key.clone()))
        });
        let (mut conditions, writes): (Vec<_>, Vec<_>) = keyed.unzip();
        conditions.push(Condition::Absent(Shared::Host(id).key()));
        self.commit(conditions, writes)
    }
}

/// Whether a record is a host's own.
fn is_of(found: &Record, id: HostId) -> bool {
    let host = match Shared::parse(&found.key) {
        Some(Shared::Endpoint(_, host, _) | Shared::Tunnel(host) | Shared::Unpublished(host)) => {
            Some(host)
        }
        Some(Shared::Grant(..)) => {
            let grant = record::decode::<GrantRecord>(&found.value);
            grant.ok().map(|grant| grant.host)
        }
        Some(Shared::Request(..)) => {
            let request = record::decode::<RequestRecord>(&found.value);
            request.ok().map(|request| request.host)
        }
        Some(_) => None,
        None => {
            let block = record::decode::<BlockRecord>(&found.value);
            block.ok().map(|block| block.host)
        }
    };
    host == Some(id)
}

#[cfg(test)]
mod tests;
