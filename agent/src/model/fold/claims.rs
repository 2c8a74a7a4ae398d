//! Who has an address when several claim it.

use std::{collections::HashMap, net::IpAddr};

use crate::model::names::ObjectName;

/// Claims on addresses beside those of their present holders, which the snapshot's own indices
/// say. The newest claim holds; when it goes, the newest of the others comes back.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The oldest first. An address that one object alone claims is not listed.
    waiting: HashMap<IpAddr, Vec<ObjectName>>,
}

impl Claims {
    /// `displaced` held `ip` until a newer claim came.
    pub(super) fn displace(&mut self, ip: IpAddr, displaced: ObjectName) {
        self.waiting.entry(ip).or_default().push(displaced);
    }

    /// The holder of `ip` has given it up. Gives the next holder.
    pub(super) fn next(&mut self, ip: IpAddr) -> Option<ObjectName> {
        let waiting = self.waiting.get_mut(&ip)?;
        let next = waiting.pop();
        if waiting.is_empty() {
            self.waiting.remove(&ip);
        }
        next
    }

    /// `name`, which does not hold `ip`, no longer claims it.
    pub(super) fn withdraw(&mut self, ip: IpAddr, name: &ObjectName) {
        if let Some(waiting) = self.waiting.get_mut(&ip) {
            waiting.retain(|other| other != name);
            if waiting.is_empty() {
                self.waiting.remove(&ip);
            }
        }
    }
}
