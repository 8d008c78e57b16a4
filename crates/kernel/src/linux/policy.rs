//! Tables and elements: each run of elements is one nftables transaction.

use super::{
    apply::{Run, Stop},
    names,
};
use crate::{Nft, nft::Change};
use vw_firewall::{HostTable, SANDBOX_TABLE, SERVICE_TABLE, TableSpec, sandbox_dns, service_table};
use vw_hoststate::{Netns, Object, Step, Table};

impl Run<'_> {
    pub(super) fn table(&mut self, at: usize, table: &Table, wanted: bool) -> Result<(), Stop> {
        self.flush()?;
        self.end_turn();
        let step = &self.plan.steps[at];
        let ensure = |spec: TableSpec| {
            self.kernel
                .with_nft(|nft| nft.ensure(&spec).map_err(|refused| refused.source))
        };
        let result = match (table, wanted) {
            (Table::Host(table), true) => ensure(table.rules()),
            (Table::Host(_), false) => self.kernel.with_nft(|nft| nft.remove(HostTable::NAME)),
            (Table::Services, true) => ensure(service_table()),
            (Table::Services, false) => self.kernel.with_nft(|nft| nft.remove(SERVICE_TABLE)),
            (Table::SandboxDns { sandbox, udp, tcp }, wanted) => {
                let place = match self.kernel.namespaces.place(Netns::Sandbox(*sandbox)) {
                    Err(error) if !wanted && error.is_namespace_gone() => {
                        self.done[at] = true;
                        return Ok(());
                    }
                    place => place.map_err(|error| (at, error))?,
                };
                let spec = sandbox_dns(*udp, *tcp);
                self.kernel.namespaces.run(&place, move || {
                    let mut nft = Nft::open()?;
                    match wanted {
                        true => nft.ensure(&spec).map_err(|refused| refused.source),
                        false => nft.remove(SANDBOX_TABLE),
                    }
                })
            }
        };
        let result = result.and_then(|result| result);
        self.finish(at, result.map_err(|error| names::failed(step, error)))
    }

    /// Changes elements from `at` on as one transaction; answers the step behind them.
    pub(super) fn elements(&mut self, at: usize) -> Result<usize, Stop> {
        self.flush()?;
        self.end_turn();
        let mut changes = Vec::new();
        let mut places = Vec::new();
        let mut end = at;
        while let Some(step) = self.plan.steps.get(end) {
            match step {
                Step::Create(Object::Element(new)) => changes.push(Change::Add(new)),
                Step::Delete(Object::Element(old)) => changes.push(Change::Remove(old)),
                Step::Replace {
                    old: Object::Element(old),
                    new: Object::Element(new),
                } => {
                    changes.push(Change::Remove(old));
                    changes.push(Change::Add(new));
                }
                _ => break,
            }
            places.resize(changes.len(), end);
            end += 1;
        }
        let failed = |step: usize, error| (step, names::failed(&self.plan.steps[step], error));
        let changed = self.kernel.with_nft(|nft| nft.change(&changes));
        changed
            .map_err(|error| failed(at, error))?
            .map_err(|refused| {
                let step = refused.place.and_then(|place| places.get(place));
                failed(step.copied().unwrap_or(at), refused.source)
            })?;
        self.done[at..end].fill(true);
        Ok(end)
    }
}
