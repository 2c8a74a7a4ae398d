//! Equal strings of one load share one allocation.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::model::{names::ObjectName, pod::Labels};

/// Lives for one load: what is read later is small, and is compared with what is held already.
#[derive(Debug, Default)]
pub struct Strings {
    strings: HashSet<Arc<str>>,
    labels: HashSet<Labels>,
}

impl Strings {
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.strings.insert(Arc::clone(&new));
        new
    }

    pub(super) fn object_name(&mut self, namespace: &str, name: &str) -> ObjectName {
        ObjectName::new(self.get(namespace), self.get(name))
    }

    pub(super) fn labels(&mut self, labels: &BTreeMap<&str, &str>) -> Labels {
        let labels: Labels = labels
            .iter()
            .map(|(key, value)| (self.get(key), self.get(value)))
            .collect();
        if let Some(known) = self.labels.get(&labels) {
            return known.clone();
        }
        self.labels.insert(labels.clone());
        labels
    }
}
