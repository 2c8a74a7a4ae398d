//! One allocation per identity, however many pods have it.

use std::{collections::HashMap, sync::Arc};

use crate::model::{names::ObjectName, spiffe::SpiffeId};

/// The identities in use, by service account.
#[derive(Debug)]
pub(super) struct Identities {
    trust_domain: Arc<str>,
    /// With the number of workloads that have it.
    in_use: HashMap<ObjectName, (SpiffeId, usize)>,
}

impl Identities {
    pub(super) fn new(trust_domain: Arc<str>) -> Self {
        Self {
            trust_domain,
            in_use: HashMap::new(),
        }
    }

    /// Each call is undone by one [`Self::release`].
    pub(super) fn acquire(&mut self, account: ObjectName) -> SpiffeId {
        let trust_domain = &self.trust_domain;
        let (identity, users) = self.in_use.entry(account).or_insert_with_key(|account| {
            (
                SpiffeId::new(trust_domain, &account.namespace, &account.name),
                0,
            )
        });
        *users += 1;
        identity.clone()
    }

    pub(super) fn release(&mut self, account: &ObjectName) {
        let Some((_, users)) = self.in_use.get_mut(account) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.in_use.remove(account);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.in_use.is_empty()
    }
}
