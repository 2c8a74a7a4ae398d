//! What the tests of this module share.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    ConnectionInfo, PodKey, Reporter, RequestInfo, RequestProtocol, SecurityPolicy, Settings,
    Telemetry, exposition::Format,
};
use crate::model::{
    mesh::{AccessLog, AccessLogFormat, AccessLogMode, MeshConfig},
    names::ObjectName,
    pod::{Labels, Pod, SkipRules, Workload},
    seams::SystemClock,
    service::{Service, ServiceState},
    spiffe::SpiffeId,
};

/// A pod `name` of the deployment `workload` in namespace `shop`.
pub(super) fn workload(workload: &str, name: &str, labels: &[(&str, &str)]) -> Arc<Workload> {
    let labels: Labels = labels
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect();
    Arc::new(Workload {
        pod: Arc::new(Pod {
            name: ObjectName::new("shop", name),
            uid: format!("uid-of-{name}").into(),
            labels,
            node: "n1".into(),
            service_account: workload.into(),
            ips: vec![[10, 0, 0, 1].into()],
            host_network: false,
            finished: false,
            foreign_sidecar: false,
            workload_name: workload.into(),
            mesh: None,
            captured: None,
            netns: None,
            skip: SkipRules::default(),
            weight: None,
        }),
        identity: id(workload),
        enrolled: true,
        enrolment_changed_at: Instant::now(),
    })
}

pub(super) fn id(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", account)
}

pub(super) fn service(name: &str) -> Arc<ServiceState> {
    Arc::new(ServiceState {
        policy: None,
        service: Arc::new(Service {
            distribution: Default::default(),
            node_local: false,
            name: ObjectName::new("shop", name),
            vips: Vec::new(),
            ports: Vec::new(),
        }),
        endpoints: Vec::new(),
    })
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `source` dials the service `web` and gets `destination`, told by the source's agent.
pub(super) fn dial(source: &Arc<Workload>, destination: &Arc<Workload>) -> ConnectionInfo {
    let mut info = ConnectionInfo::new(
        Reporter::Source,
        address("10.0.0.1:40000"),
        address("10.96.0.1:80"),
    );
    info.source = Some(Arc::clone(source));
    info.source_principal = Some(source.identity.clone());
    info.destination = Some(Arc::clone(destination));
    info.destination_principal = Some(destination.identity.clone());
    info.destination_address = address("10.0.0.2:8080");
    info.service = Some(service("web"));
    info.security = SecurityPolicy::MutualTls;
    info
}

/// Where the access log of a test goes.
#[derive(Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(super) fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        String::from_utf8(bytes.clone())
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn telemetry() -> (Telemetry, Sink) {
    telemetry_with(Settings::default())
}

pub(super) fn telemetry_with(settings: Settings) -> (Telemetry, Sink) {
    let sink = Sink::default();
    let settings = Settings {
        access_log: Box::new(sink.clone()),
        ..settings
    };
    (
        Telemetry::new(settings, Arc::new(SystemClock)).unwrap(),
        sink,
    )
}

/// Takes away what belongs to pods other than these.
pub(super) fn only_alive(telemetry: &Telemetry, pods: &[&Arc<Workload>]) {
    let alive: Vec<_> = pods.iter().map(|workload| PodKey::of(workload)).collect();
    telemetry.retain_pods(|pod| alive.contains(pod));
}

/// The labels of both ends that [`dial`] gives between the pods `client` and `web`, the latter with
/// the labels `app=web` and `version=v2`.
pub(super) const END_LABELS: &str = concat!(
    r#"reporter="source",source_workload="client",source_workload_namespace="shop","#,
    r#"source_principal="spiffe://cluster.local/ns/shop/sa/client","#,
    r#"source_app="unknown",source_version="unknown",source_cluster="Kubernetes","#,
    r#"source_canonical_service="client",source_canonical_revision="latest","#,
    r#"destination_workload="web",destination_workload_namespace="shop","#,
    r#"destination_principal="spiffe://cluster.local/ns/shop/sa/web","#,
    r#"destination_app="web",destination_version="v2",destination_cluster="Kubernetes","#,
    r#"destination_canonical_service="web",destination_canonical_revision="v2","#,
    r#"destination_service="web.shop.svc.cluster.local",destination_service_name="web","#,
    r#"destination_service_namespace="shop","#,
);

/// Puts a `MeshConfig` in force that says this of the access log.
pub(super) fn logging(telemetry: &Telemetry, mode: AccessLogMode, format: AccessLogFormat) {
    telemetry.configure(&Arc::new(MeshConfig {
        access_log: AccessLog {
            mode: mode.into(),
            format,
            ..AccessLog::default()
        },
        ..MeshConfig::default()
    }));
}

/// A request as [`dial`] makes connections.
pub(super) fn request(source: &Arc<Workload>, destination: &Arc<Workload>) -> RequestInfo {
    RequestInfo {
        peers: dial(source, destination),
        protocol: RequestProtocol::Http1,
        method: http::Method::GET,
        details: None,
        route: None,
    }
}

/// The head of a GET of `/cart?token=secret`, with these headers beside.
pub(super) fn head(headers: &[(&str, &str)]) -> http::request::Parts {
    let mut request = http::Request::get("/cart?token=secret").header("host", "web.shop");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

impl Telemetry {
    pub(super) fn text(&self) -> String {
        self.expose(Format::Text)
    }

    /// The values of `metric` whose labels contain all of `labels`, added up. None: no series.
    pub(super) fn value(&self, metric: &str, labels: &[&str]) -> Option<f64> {
        let text = self.text();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let fits = (rest.starts_with('{') || rest.starts_with(' '))
                && labels.iter().all(|label| rest.contains(label));
            fits.then(|| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        });
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    pub(super) fn written(&self) {
        assert!(self.flush(Duration::from_secs(5)));
    }
}

/// What Prometheus' own tool thinks of `text`; `None` where it is not installed. `PROMTOOL` names
/// it where it is not on the path.
pub(super) fn promtool(text: &str) -> Option<String> {
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut child = Command::new(Path::new(&promtool))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
