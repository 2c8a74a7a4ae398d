//! TrafficPolicies: which of those on one target counts, and which do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Fold, Touched};
use crate::model::{
    names::ObjectName,
    route::Route,
    traffic_policy::{Policy, PolicyConflict, PolicyTarget, TrafficPolicy},
};

/// A target, and the namespace of the policies on it, which is its own.
pub(super) type TargetKey = (Arc<str>, PolicyTarget);

/// All policies, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Policies {
    policies: BTreeMap<ObjectName, Arc<TrafficPolicy>>,
    on: BTreeMap<TargetKey, BTreeSet<ObjectName>>,
}

impl Policies {
    pub(super) fn upsert(&mut self, policy: Arc<TrafficPolicy>, touched: &mut BTreeSet<TargetKey>) {
        if self
            .policies
            .get(&policy.name)
            .is_some_and(|old| *old == policy)
        {
            return;
        }
        self.remove(&policy.name, touched);
        for target in targets(&policy) {
            let on = self.on.entry(target.clone()).or_default();
            on.insert(policy.name.clone());
            touched.insert(target);
        }
        self.policies.insert(policy.name.clone(), policy);
    }

    pub(super) fn remove(&mut self, name: &ObjectName, touched: &mut BTreeSet<TargetKey>) {
        let Some(policy) = self.policies.remove(name) else {
            return;
        };
        for target in targets(&policy) {
            if let Some(on) = self.on.get_mut(&target) {
                on.remove(name);
                if on.is_empty() {
                    self.on.remove(&target);
                }
            }
            touched.insert(target);
        }
    }

    /// What the policies on `service` say. `before` stays where it says the same.
    pub(super) fn of_service(
        &self,
        service: &ObjectName,
        before: Option<&Arc<Policy>>,
    ) -> Option<Arc<Policy>> {
        let target = PolicyTarget::Service(Arc::clone(&service.name));
        let policy = &self
            .winner(&(Arc::clone(&service.namespace), target))?
            .policy;
        let same = before.filter(|before| *before == policy);
        Some(Arc::clone(same.unwrap_or(policy)))
    }

    /// What the policies on a rule of `route` say: one that names the rule comes before one for
    /// every rule.
    pub(super) fn of_rule(&self, route: &Route, rule: Option<&Arc<str>>) -> Option<Arc<Policy>> {
        let on = |section: Option<&Arc<str>>| {
            let target = PolicyTarget::Rule {
                kind: route.kind,
                route: Arc::clone(&route.name.name),
                section: section.cloned(),
            };
            self.winner(&(Arc::clone(&route.name.namespace), target))
        };
        let named = rule.and_then(|rule| on(Some(rule)));
        let winner = named.or_else(|| on(None))?;
        Some(Arc::clone(&winner.policy))
    }

    /// The oldest.
    fn winner(&self, target: &TargetKey) -> Option<&Arc<TrafficPolicy>> {
        let on = self.on.get(target)?.iter();
        on.filter_map(|name| self.policies.get(name))
            .min_by_key(|policy| policy.age())
    }

    /// Who has `target` and who lost it.
    fn conflict(&self, target: &TargetKey) -> Option<PolicyConflict> {
        let on = self.on.get(target).filter(|on| on.len() > 1)?;
        let winner = self.winner(target)?.name.clone();
        Some(PolicyConflict {
            target: target.1.clone(),
            losers: on.iter().filter(|name| **name != winner).cloned().collect(),
            winner,
        })
    }
}

impl Fold {
    /// Finds out who has the targets that policies came to or left, and touches what they are.
    pub(super) fn derive_policy_targets(&mut self, touched: &mut Touched) {
        for target in std::mem::take(&mut touched.policy_targets) {
            let namespace = &target.0;
            match &target.1 {
                PolicyTarget::Service(name) => {
                    let name = ObjectName::new(Arc::clone(namespace), Arc::clone(name));
                    touched.services.insert(name);
                }
                PolicyTarget::Rule { kind, route, .. } => {
                    let name = ObjectName::new(Arc::clone(namespace), Arc::clone(route));
                    touched.routes.touch((*kind, name));
                }
            }
            let conflicts = &mut self.state.policy_conflicts;
            let conflict = self.policies.conflict(&target);
            // Only real changes are written: the map's identity says whether there was any.
            if conflicts.get(&target).map(|old| &**old) == conflict.as_ref() {
                continue;
            }
            match conflict {
                Some(conflict) => drop(conflicts.insert(target, conflict.into())),
                None => drop(conflicts.remove(&target)),
            }
        }
    }
}

fn targets(policy: &TrafficPolicy) -> impl Iterator<Item = TargetKey> {
    let namespace = &policy.name.namespace;
    let targets = policy.targets.iter();
    targets.map(move |target| (Arc::clone(namespace), target.clone()))
}
