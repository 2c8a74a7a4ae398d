//! A captured pod, as one data-plane thread has it.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    sync::Arc,
};

use http::HeaderValue;
use tokio::sync::Notify;

use crate::{
    model::{
        pod::Workload,
        seams::{CaptureId, PodNet, ProbeToken},
    },
    transport::{hbone::pool::Dialler, tls::IdentityHandle},
};

pub(super) struct LocalPod {
    pub(super) id: CaptureId,
    workload: RefCell<Arc<Workload>>,
    baggage: RefCell<Option<HeaderValue>>,
    pub(super) net: Arc<dyn PodNet>,
    pub(super) identity: IdentityHandle,
    pub(super) token: ProbeToken,
    closing: Cell<bool>,
    gone: Cell<bool>,
    changed: Notify,
}

impl LocalPod {
    pub(super) fn new(
        id: CaptureId,
        workload: Arc<Workload>,
        net: Arc<dyn PodNet>,
        identity: IdentityHandle,
        token: ProbeToken,
    ) -> Self {
        Self {
            id,
            baggage: RefCell::new(baggage(&workload)),
            workload: RefCell::new(workload),
            net,
            identity,
            token,
            closing: Cell::new(false),
            gone: Cell::new(false),
            changed: Notify::new(),
        }
    }

    pub(super) fn workload(&self) -> Arc<Workload> {
        Arc::clone(&self.workload.borrow())
    }

    pub(super) fn set_workload(&self, workload: Arc<Workload>) {
        *self.baggage.borrow_mut() = baggage(&workload);
        *self.workload.borrow_mut() = workload;
    }

    pub(super) fn baggage(&self) -> Option<HeaderValue> {
        self.baggage.borrow().clone()
    }

    pub(super) fn has_address(&self, ip: IpAddr) -> bool {
        self.workload.borrow().pod.ips.contains(&ip)
    }

    pub(super) fn dialler(&self) -> Dialler {
        Dialler {
            net: Arc::clone(&self.net),
            material: self.identity.current(),
        }
    }

    /// Its listeners are to be emptied and closed.
    pub(super) fn close_listeners(&self) {
        self.closing.set(true);
        self.changed.notify_waiters();
    }

    /// Its tunnels from peers are to end as well.
    pub(super) fn remove(&self) {
        self.gone.set(true);
        self.close_listeners();
    }

    pub(super) async fn listeners_closing(&self) {
        self.wait_for(&self.closing).await;
    }

    pub(super) async fn gone(&self) {
        self.wait_for(&self.gone).await;
    }

    async fn wait_for(&self, flag: &Cell<bool>) {
        loop {
            let changed = self.changed.notified();
            if flag.get() {
                return;
            }
            changed.await;
        }
    }
}

/// Who the pod is, for the peer's telemetry: Istio's keys.
fn baggage(workload: &Workload) -> Option<HeaderValue> {
    let pod = &workload.pod;
    let label = |names: &[&str]| {
        let found = names.iter().find_map(|name| pod.labels.get(name));
        Arc::clone(found.unwrap_or(&pod.workload_name))
    };
    let service = label(&[
        "service.istio.io/canonical-name",
        "app.kubernetes.io/name",
        "app",
    ]);
    let version = [
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]
    .iter()
    .find_map(|name| pod.labels.get(name));
    let mut text = format!(
        "k8s.namespace.name={},k8s.deployment.name={},service.name={service}",
        pod.name.namespace, pod.workload_name
    );
    if let Some(version) = version {
        text.push_str(",service.version=");
        text.push_str(version);
    }
    HeaderValue::try_from(text).ok()
}
