//! The source's half of one request: what happens to it, phase by phase.
//!
//! [`Exchange::run`] is the list; each phase is a method below it or a file beside it. A phase that
//! ends the request answers, or refuses with a [`Refusal`].

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use http::{
    HeaderValue, Request, Response, header,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use super::{
    answer::{self, Asker, Last, Refusal},
    body::{Answer, Body, Guards, Idle, Keep, Received},
    fallback::{Fallback, Judged},
    fault, mirror,
    outbound::Outbound,
    outgoing::{Outgoing, empty_head},
    retry, semantics,
    send::Sent,
    serve::{Served, Turns},
};
use crate::{
    model::{
        protocol::Protocol,
        route::{Filters, ResolvedRule, RouteEntry},
        service::{Endpoint, EndpointSet, ServiceState},
        snapshot::Snapshot,
        traffic_policy::Policy,
    },
    proxy::{services::View, worker::Worker},
    telemetry::{Reason, RequestInfo, RequestProtocol, RequestRecord, RouteRef},
    traffic::{
        affinity,
        backend::{self, Resolved, Unresolved},
        matching, normalize,
        request::RequestView,
        split,
    },
};

/// One request, from its head to its answer's.
pub(super) struct Exchange {
    pub(super) cx: Rc<Outbound>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) request: Outgoing,
    pub(super) record: RequestRecord,
    authority: Option<Authority>,
    pub(super) grpc: bool,
    pub(super) began: Instant,
    /// The match that was taken, where the service has routes.
    pub(super) entry: Option<RouteEntry>,
    /// `timeouts.request` or the client's own gRPC deadline, from the request's arrival.
    pub(super) deadline: Option<Instant>,
    /// Of the service that was dialled, where the backend is another one.
    pub(super) dialled_policy: Option<Arc<Policy>>,
    /// Nobody waits for the answer.
    pub(super) is_mirror: bool,
    pub(super) received: Option<Rc<Received>>,
    /// The client's session, where the rule keeps one.
    pub(super) session: Option<affinity::Token>,
}

/// Where a request goes.
pub(super) struct Target {
    /// `None`: the pod's own address was dialled.
    pub(super) service: Option<Arc<ServiceState>>,
    /// The service's endpoints behind the port.
    pub(super) endpoints: Arc<EndpointSet>,
    /// Whether the endpoint is spoken to in HTTP/2 whatever the client speaks.
    pub(super) http2: bool,
    /// What this agent knows of the service.
    pub(super) view: Option<Arc<View>>,
    /// The pod's own address was dialled: no other endpoint will do.
    pub(super) only: Option<Endpoint>,
    /// The endpoint that the client's session is with.
    pub(super) pinned: Option<Endpoint>,
    /// Into the rule's backends.
    pub(super) backend: Option<usize>,
}

/// What a request came to. Made once and looked at once: a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
enum Outcome {
    /// Weir's own answer, which is no failure: a redirect, a preflight.
    Own(Response<Body>),
    /// An earlier one of the service, which fails for this reason. The number is
    /// [`Target::backend`].
    Stale(Response<Body>, Reason, Option<usize>),
    Sent(Sent, Target, Option<Instant>),
}

pub(super) async fn answer(
    cx: Rc<Outbound>,
    request: Request<Incoming>,
    served: Served,
    turns: Turns,
) -> Response<Body> {
    // In a box: it is handed from phase to phase.
    let mut exchange = Box::new(Exchange::begin(cx, request.map(Body::of_request)));
    match exchange.run().await {
        Ok(Outcome::Own(response)) => exchange.own(response, None, None, served),
        Ok(Outcome::Stale(response, why, backend)) => {
            exchange.own(response, Some(why), backend, served)
        }
        Ok(Outcome::Sent(sent, target, deadline)) => {
            exchange.answered(sent, &target, deadline, served, &turns)
        }
        Err(refusal) => {
            let mut refusal = refusal.or_broken(exchange.received.as_deref());
            // That is between agents.
            refusal.unprocessed = false;
            exchange.refuse(&refusal, served)
        }
    }
}

impl Exchange {
    fn begin(cx: Rc<Outbound>, request: Request<Body>) -> Self {
        let snapshot = cx.worker.snapshot();
        let (head, body) = request.into_parts();
        let protocol = RequestProtocol::of(&head);
        let telemetry = &cx.worker.telemetry;
        let mut peers = cx.peers();
        if let Some((name, _)) = &cx.service {
            peers.service = snapshot.service(name).cloned();
        }
        let record = telemetry.request(RequestInfo {
            peers,
            protocol,
            method: head.method.clone(),
            details: telemetry.details(&head),
            route: None,
        });
        let (body, received) = body.counted();
        let version = super::inbound::version_of(&head);
        Self {
            cx,
            snapshot,
            request: Outgoing::new(head, body, version),
            record,
            authority: None,
            grpc: protocol == RequestProtocol::Grpc,
            began: Instant::now(),
            entry: None,
            deadline: None,
            dialled_policy: None,
            is_mirror: false,
            received,
            session: None,
        }
    }

    /// A copy of a request for a mirror.
    pub(super) fn mirrored(cx: Rc<Outbound>, head: Parts, body: Body) -> Self {
        let (head, mut exchange) = (
            head,
            Self::begin(cx, Request::from_parts(empty_head(), Body::Empty)),
        );
        exchange.record.info_mut().method = head.method.clone();
        let version = super::inbound::version_of(&head);
        exchange.request = Outgoing::new(head, body, version);
        exchange.is_mirror = true;
        exchange
    }

    /// A mirror's answer is read and forgotten.
    pub(super) async fn mirror_ended(mut self, outcome: Result<Sent, Refusal>) {
        match outcome {
            Ok(sent) => {
                self.record.response(sent.response.status());
                let body = sent.response.into_body();
                mirror::discard(body).await;
                if let Keep::Lease(lease) = sent.keep {
                    lease.give_back();
                }
                self.record.finish(Reason::Ok, None);
            }
            Err(refusal) => self.record.finish(refusal.reason, Some(refusal.detail)),
        }
    }

    /// What happens to a request, in order.
    async fn run(&mut self) -> Result<Outcome, Refusal> {
        self.check()?; // RFC 9110, 9112, 9113
        self.route()?; // HTTPRoute, GRPCRoute
        if let Some(answer) = self.preflight() {
            return Ok(Outcome::Own(answer)); // CORS
        }
        if let Some(answer) = self.redirect() {
            return Ok(Outcome::Own(answer)); // RequestRedirect
        }
        let target = self.target()?; // weights, sessionPersistence
        self.start_the_clock(&target); // timeouts.request, grpc-timeout
        if let Some(answer) = self.redirect_of_backend(&target) {
            return Ok(Outcome::Own(answer)); // RequestRedirect of the chosen backend
        }
        self.modify(&target); // URLRewrite, RequestHeaderModifier
        self.mirror(&target); // RequestMirror
        self.trace(); // traceparent, B3
        self.inject(&target).await?; // fault
        self.send(target).await // balancing, pools, breakers, retries, stale answers
    }

    fn check(&mut self) -> Result<(), Refusal> {
        let checked = semantics::check(&mut self.request.head)?;
        self.authority = checked.authority;
        if self.authority.is_none()
            && let Ok(host) = HeaderValue::try_from(self.cx.dialled.to_string())
        {
            // HTTP/1.0 may go without; what is sent on is HTTP/1.1.
            self.request.head.headers.insert(header::HOST, host);
        }
        self.request.becomes = checked.becomes;
        // What only agents say; an application that says it is not believed.
        self.request.head.headers.remove(header::FORWARDED);
        self.request.wait_if_expected(); // 100-continue
        Ok(())
    }

    /// Without routes a service's requests go to its own endpoints.
    fn route(&mut self) -> Result<(), Refusal> {
        let Some((service, port)) = &self.cx.service else {
            return Ok(());
        };
        let namespace = &self.cx.pod.workload().pod.name.namespace;
        let Some(table) = matching::http_table(&self.snapshot, service, *port, namespace) else {
            return Ok(());
        };
        let path = normalize::path(self.request.head.uri.path())
            .map_err(|error| Refusal::new(Reason::BadRequest, error.to_string()))?;
        let request = RequestView {
            path: &path,
            query: self.request.head.uri.query(),
            method: &self.request.head.method,
            headers: &self.request.head.headers,
            grpc: self.grpc,
        };
        let Some(entry) = matching::find(table, &request) else {
            let detail = format!("no route of {service} matches the request");
            return Err(Refusal::new(Reason::NoRoute, detail));
        };
        self.entry = Some(entry.clone());
        self.record.info_mut().route = Some(RouteRef {
            rule: Arc::clone(&entry.rule),
            backend: None,
        });
        Ok(())
    }

    pub(super) fn rule(&self) -> Option<&Arc<ResolvedRule>> {
        self.entry.as_ref().map(|entry| &entry.rule)
    }

    pub(super) fn filters(&self) -> Option<&Filters> {
        self.rule().map(|rule| &rule.rule().filters)
    }

    /// Whose word counts, the first first: policies on the rule, on the backend, on the service
    /// that was dialled.
    pub(super) fn policies<'s>(&'s self, target: &'s Target) -> [Option<&'s Policy>; 3] {
        [
            self.rule().and_then(|rule| rule.policy.as_deref()),
            target.view.as_ref().map(|view| &*view.policy),
            self.dialled_policy.as_deref(),
        ]
    }

    pub(super) fn authority(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::as_str)
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.request
            .head
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
    }

    /// The backend, by weight or by the client's session; else what was dialled.
    fn target(&mut self) -> Result<Target, Refusal> {
        let Some(rule) = self.rule().cloned() else {
            return self.dialled();
        };
        let session = rule.rule().session.as_ref();
        let token = session.and_then(|session| self.session_of(session));
        let chosen = token
            .as_ref()
            .and_then(|token| affinity::backend_of(token, &rule))
            .or_else(|| split::pick(&rule, self.cx.worker.balancer.random()));
        let Some(index) = chosen else {
            let detail = format!(
                "rule {} of {} has no backend",
                rule.rule_label, rule.route_label
            );
            return Err(Refusal::new(Reason::BackendNotFound, detail));
        };
        if let Some(route) = &mut self.record.info_mut().route {
            route.backend = Some(index);
        }
        let resolved = backend::of_rule(&self.snapshot, &rule, index)?;
        let mut target = Target::of(resolved, &self.cx.worker, &self.snapshot);
        self.dialled_policy = self.policy_dialled();
        target.backend = Some(index);
        target.pinned = token
            .as_ref()
            .and_then(|token| affinity::endpoint_of(token, &target.endpoints.endpoints));
        self.session = token;
        Ok(target)
    }

    fn dialled(&self) -> Result<Target, Refusal> {
        match &self.cx.service {
            Some((name, port)) => match backend::of_service(&self.snapshot, name, *port) {
                Ok(resolved) => Ok(Target::of(resolved, &self.cx.worker, &self.snapshot)),
                // The address was this service's when it was dialled.
                Err(error @ (Unresolved::NoService(_) | Unresolved::NoPort { .. })) => {
                    Err(Refusal::new(Reason::NoSuchPort, error.to_string()))
                }
                Err(error) => Err(error.into()),
            },
            None => Ok(self.pods_own()),
        }
    }

    /// A pod's own address: no route applies, and of policies those on the headless service that
    /// the pod belongs to.
    fn pods_own(&self) -> Target {
        let dialled = self.cx.dialled;
        let headless = self.snapshot.headless_with_policy(dialled.ip());
        let view = headless.map(|service| self.cx.worker.views.of(&self.snapshot, service));
        Target {
            service: None,
            endpoints: Arc::new(EndpointSet::of_address(dialled)),
            http2: false,
            only: view.is_some().then_some(Endpoint {
                address: dialled.ip(),
                port: dialled.port(),
            }),
            view,
            pinned: None,
            backend: None,
        }
    }

    fn policy_dialled(&self) -> Option<Arc<Policy>> {
        let (name, _) = self.cx.service.as_ref()?;
        self.snapshot.service(name)?.policy.clone()
    }

    fn mirror(&mut self, target: &Target) {
        let Some(rule) = self.rule().cloned() else {
            return;
        };
        if self.request.becomes.is_none() {
            mirror::start(self, &rule, target.backend);
        }
    }

    fn trace(&mut self) {
        let telemetry = &self.cx.worker.telemetry;
        let peers = &self.record.info().peers;
        let trace = telemetry.trace(peers, &mut self.request.head.headers);
        self.record.set_trace(trace);
        self.record.capture_headers(&self.request.head.headers);
    }

    async fn inject(&mut self, target: &Target) -> Result<(), Refusal> {
        match fault::of(self, target) {
            None => Ok(()),
            Some(injected) => fault::inject(self, injected).await,
        }
    }

    async fn send(&mut self, target: Target) -> Result<Outcome, Refusal> {
        let fallback = Fallback::of(self, &target);
        let sent = retry::send(self, &target).await;
        let sent = match fallback {
            None => sent,
            Some(fallback) => match fallback.judge(self, sent) {
                Judged::Stale(response, why) => {
                    return Ok(Outcome::Stale(response, why, target.backend));
                }
                Judged::Sent(sent) => sent,
            },
        };
        let (sent, until) = sent?;
        Ok(Outcome::Sent(sent, target, until))
    }

    /// Weir's own answer, which ends the request well.
    fn own(
        mut self: Box<Self>,
        mut response: Response<Body>,
        stale: Option<Reason>,
        backend: Option<usize>,
        served: Served,
    ) -> Response<Body> {
        self.modify_response(&mut response, backend);
        self.record.response(response.status());
        let detail = stale.map(|why| format!("stale: {why}").into());
        self.record.finish(Reason::Ok, detail);
        drop(served);
        response
    }

    fn refuse(mut self: Box<Self>, refusal: &Refusal, served: Served) -> Response<Body> {
        let asker = Asker {
            grpc: self.grpc,
            of_the_mesh: true,
        };
        let mut response = answer::refuse(refusal, asker);
        self.modify_response(&mut response, None);
        self.record.response(refusal.http_status());
        if self.grpc {
            self.record.grpc_status(refusal.grpc_status());
        }
        if let Some(received) = &self.received {
            self.record.received(received.bytes());
        }
        self.record
            .finish(refusal.reason, Some(refusal.detail.clone()));
        drop(served);
        response
    }

    fn answered(
        mut self: Box<Self>,
        sent: Sent,
        target: &Target,
        until: Option<Instant>,
        served: Served,
        turns: &Turns,
    ) -> Response<Body> {
        let Sent {
            mut response,
            endpoint,
            keep,
            becomes,
            load,
            failed,
            trial,
            storing,
            under_way,
        } = sent;
        self.modify_response(&mut response, target.backend);
        self.keep_session(&mut response, target, endpoint);
        if self.request.is_left_without_body() {
            response.extensions_mut().insert(Last);
        }
        self.record.response(response.status());
        self.record.capture_response_headers(response.headers());
        let guards = Guards {
            _load: Some(load),
            served: Some(served),
            trial,
            _under_way: under_way,
            storing,
            ..Guards::default()
        };
        if let Some(mut upgraded) = becomes {
            upgraded.records.push(self.record);
            upgraded.guards = guards;
            *turns.borrow_mut() = Some(upgraded);
            return response;
        }
        self.record.grpc_status_from(response.headers());
        let reason = self.timeout_reason(until);
        let idle = self.idle_timeout(target);
        let (head, body) = response.into_parts();
        let answer = Answer {
            body,
            record: Some(self.record),
            received: self.received,
            idle: idle.map(Idle::new),
            deadline: until.map(|until| (Box::pin(sleep_until(until)), reason)),
            keep,
            guards,
            failed: failed.map(|failed| failed.reason),
        };
        Response::from_parts(head, Body::answer(answer))
    }
}

impl From<Unresolved> for Refusal {
    fn from(error: Unresolved) -> Self {
        let reason = match error {
            Unresolved::NoEndpoint(_) => Reason::NoHealthyEndpoint,
            Unresolved::Refused(_) | Unresolved::NoService(_) | Unresolved::NoPort { .. } => {
                Reason::BackendNotFound
            }
        };
        Self::new(reason, error.to_string())
    }
}

impl Target {
    pub(super) fn of(resolved: Resolved<'_>, worker: &Worker, snapshot: &Snapshot) -> Self {
        Self {
            view: Some(worker.views.of(snapshot, resolved.service)),
            only: None,
            service: Some(Arc::clone(resolved.service)),
            endpoints: Arc::clone(resolved.endpoints),
            http2: Protocol::of(resolved.port).wants_http2(),
            pinned: None,
            backend: None,
        }
    }

    pub(super) fn address(endpoint: Endpoint) -> SocketAddr {
        SocketAddr::new(endpoint.address, endpoint.port)
    }
}
