//! The destination's half of a request: from a peer, or from a pod of this node, to the
//! application.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc};

use http::{
    HeaderName, HeaderValue, Request, Response, Uri, Version as HttpVersion,
    header::{FORWARDED, HOST},
    request::Parts,
};
use hyper::body::Incoming;
use tokio::net::TcpStream;

use super::{
    answer::{self, Asker, Last, REASON, Refusal},
    body::{Answer, Body, Guards, Keep, Received},
    outgoing::Outgoing,
    pool::{Key, Lease, Version},
    semantics::{self, Become},
    serve::{Handler, Served, Turns},
    upgrade::Upgraded,
    upstream::{self, By, Upstream},
};
use crate::{
    proxy::{
        guarded::Excess,
        pods::LocalPod,
        services::{Inside, View},
        worker::Worker,
    },
    telemetry::{ConnectionInfo, Reason, Reporter, RequestInfo, RequestProtocol, RequestRecord},
};

/// Envoy's name and format: who the caller is, for the application.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Where requests of one peer to one port of a captured pod go.
pub(in crate::proxy) struct Inbound {
    worker: Rc<Worker>,
    pod: Rc<LocalPod>,
    peers: ConnectionInfo,
    client_cert: Option<HeaderValue>,
    of_the_mesh: bool,
    /// A connection to the application that was made before it was known that HTTP comes.
    seed: RefCell<Option<TcpStream>>,
}

/// The application's answer.
pub(super) struct Delivered {
    pub(super) response: Response<Body>,
    /// What the connection has become.
    pub(super) becomes: Option<Upgraded>,
}

impl Inbound {
    /// `peers` says who speaks to whom; its principals are proven or absent.
    pub(in crate::proxy) fn new(
        worker: Rc<Worker>,
        pod: Rc<LocalPod>,
        peers: ConnectionInfo,
        seed: Option<TcpStream>,
    ) -> Self {
        debug_assert_eq!(peers.reporter, Reporter::Destination);
        let client_cert = peers.source_principal.as_ref().and_then(|source| {
            let by = pod.identity.identity();
            HeaderValue::try_from(format!("By={};URI={}", by.as_str(), source.as_str())).ok()
        });
        Self {
            of_the_mesh: peers.source_principal.is_some(),
            worker,
            pod,
            peers,
            client_cert,
            seed: RefCell::new(seed),
        }
    }

    fn client(&self) -> SocketAddr {
        self.peers.source_address
    }

    /// What happens to a request at its destination, in order. Where nothing of it was sent,
    /// `request` is as it was.
    ///
    /// `view`: the service's, where the caller is of this node as well and its `connections` count.
    pub(super) async fn deliver(
        &self,
        request: &mut Outgoing,
        view: Option<&Arc<View>>,
    ) -> Result<Delivered, Refusal> {
        let mut record = self.begin(&request.head);
        // Authorization comes here.
        let concurrent = match self.admit(&request.head).await {
            Ok(concurrent) => concurrent,
            Err(excess) => return Err(self.fail(record, excess.into())),
        };
        let mut to_app = self.application(request.version, view);
        let lease = match to_app.connect().await {
            Ok(lease) => lease,
            Err(error) => return Err(self.fail(record, error.into())),
        };
        let (mut head, body) = request.take();
        self.say_who_calls(&mut head);
        let trace = self.worker.telemetry.trace(&self.peers, &mut head.headers);
        record.set_trace(trace);
        record.capture_headers(&head.headers);
        let (body, received) = body.counted();
        let becomes = request.becomes.as_ref();
        let mut sent = to_application(head, body, becomes, to_app.version);
        upstream::listen(request.expects.as_ref(), to_app.version, &mut sent);
        match to_app.send(lease, sent).await {
            Ok((response, lease)) if upstream::became(becomes, response.status()) => {
                Ok(Box::pin(became(response, lease, record, concurrent)).await)
            }
            Ok((response, lease)) => {
                let guards = Guards {
                    _concurrent: concurrent,
                    ..Guards::default()
                };
                Ok(answered(response, lease, record, (received, guards)))
            }
            Err(refusal) => {
                let refusal = refusal.or_broken(received.as_deref());
                Err(self.fail(record, refusal))
            }
        }
    }

    /// `rateLimit`, then `concurrency`.
    async fn admit(&self, head: &Parts) -> Result<Vec<Inside>, Excess> {
        let (worker, peers) = (&self.worker, &self.peers);
        let Some(guards) = worker.guarded.of(worker, peers.destination_address) else {
            return Ok(Vec::new());
        };
        guards.limit_rate(worker, peers, Some(&head.headers))?;
        guards.limit_concurrency(worker).await
    }

    fn fail(&self, mut record: RequestRecord, refusal: Refusal) -> Refusal {
        record.response(refusal.http_status());
        record.finish(refusal.reason, Some(refusal.detail.clone()));
        refusal
    }

    fn begin(&self, head: &Parts) -> RequestRecord {
        let telemetry = &self.worker.telemetry;
        telemetry.request(RequestInfo {
            peers: self.peers.clone(),
            protocol: RequestProtocol::of(head),
            method: head.method.clone(),
            details: telemetry.details(head),
            route: None,
        })
    }

    fn application<'a>(&'a self, version: Version, view: Option<&'a Arc<View>>) -> Upstream<'a> {
        let client = self.client();
        Upstream {
            worker: &self.worker,
            key: Key {
                pod: self.pod.id,
                shown_as: Some(client.ip()),
                to: self.peers.destination_address,
                through: None,
            },
            version,
            view,
            by: By::Tcp {
                net: &*self.pod.net,
                shown_as: Some(client),
                seed: self.seed.borrow_mut().take(),
            },
        }
    }

    /// What the application learns of its caller comes from here alone.
    fn say_who_calls(&self, head: &mut Parts) {
        let headers = &mut head.headers;
        headers.remove(FORWARDED);
        match &self.client_cert {
            Some(value) => {
                headers.insert(CLIENT_CERT, value.clone());
            }
            None => {
                headers.remove(CLIENT_CERT);
            }
        }
    }
}

fn answered(
    response: Response<Incoming>,
    lease: Lease,
    mut record: RequestRecord,
    (received, guards): (Option<Rc<Received>>, Guards),
) -> Delivered {
    let (mut head, body) = response.into_parts();
    record.response(head.status);
    record.capture_response_headers(&head.headers);
    // Who else says why Weir answered is not Weir.
    head.headers.remove(REASON);
    semantics::strip_answer(&mut head.headers);
    record.grpc_status_from(&head.headers);
    let answer = Answer {
        body: Body::of_request(body),
        record: Some(record),
        received,
        deadline: None,
        idle: None,
        keep: Keep::Lease(lease),
        guards,
        failed: None,
    };
    Delivered {
        response: Response::from_parts(head, Body::answer(answer)),
        becomes: None,
    }
}

/// The connection is the application's from now on; 101 keeps the fields that say so.
async fn became(
    response: Response<Incoming>,
    lease: Lease,
    mut record: RequestRecord,
    concurrent: Vec<Inside>,
) -> Delivered {
    let (mut head, _) = response.into_parts();
    record.response(head.status);
    head.headers.remove(REASON);
    match upstream::take_over(&lease).await {
        Ok((upstream, read_ahead)) => Delivered {
            response: Response::from_parts(head, Body::Empty),
            becomes: Some(Upgraded {
                upstream,
                read_ahead,
                records: vec![record],
                guards: Guards {
                    _concurrent: concurrent,
                    ..Guards::default()
                },
            }),
        },
        Err(refusal) => {
            record.finish(refusal.reason, Some(refusal.detail.clone()));
            let asker = Asker {
                grpc: false,
                of_the_mesh: true,
            };
            Delivered {
                response: answer::refuse(&refusal, asker),
                becomes: None,
            }
        }
    }
}

/// The head as an application of this version wants it.
pub(super) fn to_application(
    head: Parts,
    body: Body,
    becomes: Option<&Become>,
    version: Version,
) -> Request<Body> {
    let mut request = Request::from_parts(head, body);
    match version {
        Version::Http1 => {
            *request.version_mut() = HttpVersion::HTTP_11;
            if becomes != Some(&Become::Tunnel) {
                origin_form(&mut request);
            }
            upstream::ask_to_become(becomes, &mut request);
        }
        Version::Http2 => {
            *request.version_mut() = HttpVersion::HTTP_2;
            absolute_form(&mut request);
        }
    }
    request
}

/// RFC 9112 §3.2.1: the path alone, and the authority as Host.
fn origin_form(request: &mut Request<Body>) {
    let uri = std::mem::take(request.uri_mut());
    let parts = uri.into_parts();
    if let Some(authority) = parts.authority
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    if let Some(path) = parts.path_and_query {
        *request.uri_mut() = Uri::from(path);
    }
}

/// RFC 9113 §8.3.1: `:authority` in Host's place.
pub(super) fn absolute_form(request: &mut Request<Body>) {
    let host = request.headers_mut().remove(HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if parts.authority.is_none() {
        parts.authority = host.and_then(|host| host.as_bytes().try_into().ok());
    }
    parts.scheme = Some(http::uri::Scheme::HTTP);
    if parts.authority.is_none() {
        parts.authority = Some(http::uri::Authority::from_static("localhost"));
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

impl Handler for Inbound {
    async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
        served: Served,
        turns: Turns,
    ) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let grpc = RequestProtocol::of(&head) == RequestProtocol::Grpc;
        let asker = Asker {
            grpc,
            of_the_mesh: self.of_the_mesh,
        };
        let version = version_of(&head);
        let checked = match semantics::check(&mut head) {
            Ok(checked) => checked,
            Err(refusal) => {
                self.refused(&head, &refusal);
                return answer::refuse(&refusal, asker);
            }
        };
        let mut outgoing = Outgoing::new(head, Body::of_request(body), version);
        outgoing.becomes = checked.becomes;
        outgoing.wait_if_expected();
        match self.deliver(&mut outgoing, None).await {
            Ok(delivered) => {
                if let Some(upgraded) = delivered.becomes {
                    *turns.borrow_mut() = Some(upgraded);
                }
                let mut response = delivered.response;
                if outgoing.is_left_without_body() {
                    response.extensions_mut().insert(Last);
                }
                if let Body::Answer(answer) = response.body_mut() {
                    answer.guards.served = Some(served);
                }
                response
            }
            Err(refusal) => answer::refuse(&refusal, asker),
        }
    }

    fn of_the_mesh(&self) -> bool {
        self.of_the_mesh
    }

    fn broken(&self, reason: Reason, detail: String) {
        let record = self.worker.telemetry.begin(self.peers.clone());
        record.finish(reason, Some(detail.into()));
    }
}

/// The application is spoken to as its client speaks.
pub(super) fn version_of(head: &Parts) -> Version {
    match head.version {
        HttpVersion::HTTP_2 => Version::Http2,
        _ => Version::Http1,
    }
}

impl Inbound {
    fn refused(&self, head: &Parts, refusal: &Refusal) {
        let telemetry = &self.worker.telemetry;
        let mut record = telemetry.request(RequestInfo {
            peers: self.peers.clone(),
            protocol: RequestProtocol::of(head),
            method: head.method.clone(),
            details: telemetry.details(head),
            route: None,
        });
        record.response(refusal.http_status());
        record.finish(refusal.reason, Some(refusal.detail.clone()));
    }
}
