//! Snapshot → map: which addresses the kernel hands to the agent.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use aya::maps::{HashMap, MapData};
use imbl::ordmap::DiffItem;
use tracing::warn;
use weir_abi::{Addr, PROBE_V4, PROBE_V6};

use super::DatapathError;
use crate::model::snapshot::{Destination, Snapshot};

/// What the value of an entry says to a person who dumps the map.
const SERVICE: u32 = 1;
const POD: u32 = 2;
const PROBE: u32 = 3;

/// The state that the map has.
#[derive(Default)]
pub struct Destinations {
    written: Option<Arc<Snapshot>>,
}

impl Destinations {
    /// Writes what differs from the last snapshot; at first, from what an earlier agent left.
    pub(super) fn follow(
        &mut self,
        map: &mut HashMap<MapData, Addr, u32>,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), DatapathError> {
        let mut outcome = Ok(());
        match self.written.replace(Arc::clone(snapshot)) {
            Some(old) => {
                for change in old.destinations().diff(snapshot.destinations()) {
                    let done = match change {
                        DiffItem::Add(ip, kind)
                        | DiffItem::Update {
                            new: (ip, kind), ..
                        } => insert(map, *ip, *kind),
                        DiffItem::Remove(ip, _) => remove(map, (*ip).into()),
                    };
                    outcome = outcome.and(done);
                }
            }
            None => outcome = outcome.and(write_all(map, snapshot)),
        }
        if outcome.is_err() {
            // What is missing would pass by the mesh: the next attempt compares with the map itself.
            self.written = None;
        }
        outcome
    }
}

fn write_all(
    map: &mut HashMap<MapData, Addr, u32>,
    snapshot: &Snapshot,
) -> Result<(), DatapathError> {
    let mut outcome = Ok(());
    let mut stale: BTreeSet<Addr> = map.keys().filter_map(Result::ok).collect();
    for probe in [Addr::from_v4(PROBE_V4), Addr::from_v6(PROBE_V6)] {
        stale.remove(&probe);
        outcome = outcome.and(
            map.insert(probe, PROBE, 0)
                .map_err(DatapathError::map("DESTINATIONS")),
        );
    }
    for (ip, kind) in snapshot.destinations() {
        stale.remove(&(*ip).into());
        outcome = outcome.and(insert(map, *ip, *kind));
    }
    for addr in stale {
        outcome = outcome.and(remove(map, addr));
    }
    outcome
}

fn insert(
    map: &mut HashMap<MapData, Addr, u32>,
    ip: IpAddr,
    kind: Destination,
) -> Result<(), DatapathError> {
    let value = match kind {
        Destination::Service => SERVICE,
        Destination::Pod => POD,
    };
    map.insert(Addr::from(ip), value, 0)
        .map_err(DatapathError::map("DESTINATIONS"))
}

fn remove(map: &mut HashMap<MapData, Addr, u32>, addr: Addr) -> Result<(), DatapathError> {
    match map.remove(&addr) {
        Err(aya::maps::MapError::KeyNotFound) => {
            warn!(?addr, "an address was gone from the BPF map already");
            Ok(())
        }
        other => other.map_err(DatapathError::map("DESTINATIONS")),
    }
}
