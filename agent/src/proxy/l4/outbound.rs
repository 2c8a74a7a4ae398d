//! A captured pod's application dialled.

use std::{net::SocketAddr, os::fd::AsFd as _, rc::Rc, sync::Arc};

use bytes::BytesMut;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::{
    Accepted, answer_probe,
    endpoint::{Failure, Upstream},
    reach::{self, Counted, Wanted},
};
use crate::{
    model::{names::ObjectName, protocol::Protocol, seams::Dialled, snapshot::Snapshot},
    proxy::{
        l7::{
            self,
            detect::{self, First},
            outbound::Outbound,
            wire::{Speaks, Stream, Wire},
        },
        pods::LocalPod,
        registry::Registered,
        worker::Worker,
    },
    telemetry::{ConnectionInfo, ConnectionRecord, Reason, Reporter, SecurityPolicy},
    transport::{
        copy::{self, SocketSide},
        dial::reset_on_close,
        limits::FIRST_BYTE_WAIT,
    },
};

pub(in crate::proxy) async fn serve(worker: Rc<Worker>, pod: Rc<LocalPod>, accepted: Accepted) {
    // In a box: what dialling takes is given back before the connection idles for hours.
    match Box::pin(establish(&worker, &pod, accepted)).await {
        None => {}
        Some(Established::Bytes(carried)) => carry(carried).await,
        Some(Established::Http(http)) => {
            let Http {
                outbound,
                wire,
                speaks,
                registered,
            } = *http;
            Box::pin(l7::serve::serve(worker, outbound, wire, speaks, registered)).await;
        }
    }
}

async fn carry(mut carried: Box<Carried>) {
    let Carried {
        stream,
        upstream,
        record,
        registered,
        ..
    } = &mut *carried;
    let supervision = &registered.supervision;
    let reason = match upstream {
        Upstream::Tunnel(tunnel) => {
            let side = SocketSide::Client;
            copy::with_tunnel(stream, &mut tunnel.io, side, record, supervision).await
        }
        Upstream::Local(local) => {
            let meters = (&*record, &local.record);
            copy::between_sockets(stream, &mut local.stream, &meters, supervision).await
        }
        Upstream::Plain(up) => copy::between_sockets(stream, up, record, supervision).await,
    };
    let Carried {
        upstream, record, ..
    } = *carried;
    if let Upstream::Local(local) = upstream {
        local.record.finish(reason, None);
    }
    record.finish(reason, None);
}

/// What a connection turned out to be.
enum Established {
    Bytes(Box<Carried>),
    Http(Box<Http>),
}

/// Opaque bytes, and both ends stand.
struct Carried {
    stream: TcpStream,
    upstream: Upstream,
    record: ConnectionRecord,
    registered: Registered,
    _counted: Counted,
}

struct Http {
    outbound: Rc<Outbound>,
    wire: Wire,
    speaks: Speaks,
    registered: Registered,
}

/// Finds out what was dialled and what is spoken, and reaches it; says no to the application where
/// that fails.
async fn establish(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    accepted: Accepted,
) -> Option<Established> {
    let Accepted { stream, peer } = accepted;
    let dialled = match worker.shared.original_dst.original_dst(stream.as_fd()) {
        Ok(Dialled::Address(address)) => address,
        Ok(Dialled::Probe) => {
            answer_probe(stream, &pod.token).await;
            return None;
        }
        Err(error) => {
            let own = stream.local_addr().unwrap_or(peer);
            let info = ConnectionInfo::new(Reporter::Source, peer, own);
            let record = worker.telemetry.begin(info);
            let failure = Failure::new(Reason::NoOriginalDestination, error.to_string());
            return refuse(&stream, record, failure);
        }
    };
    let Some(registered) = worker.register(pod, None) else {
        let record = begin(worker, pod, peer, dialled);
        return refuse(
            &stream,
            record,
            Failure::new(Reason::LimitReached, "connections"),
        );
    };
    let (service, protocol) = declared(&worker.snapshot(), dialled);
    let mut arrival = Arrival {
        worker,
        pod,
        stream,
        peer,
        dialled,
        service,
        protocol,
        registered,
        buffer: BytesMut::new(),
    };
    match arrival.first().await {
        Ok(Some(first)) => arrival.go_on(first).await,
        Ok(None) => arrival.watch_both().await,
        Err(reason) => {
            let record = begin(worker, pod, peer, dialled);
            refuse(&arrival.stream, record, Failure::new(reason, ""))
        }
    }
}

/// The service and port that were dialled, if it was a service, and what is said of its protocol.
fn declared(snapshot: &Snapshot, dialled: SocketAddr) -> (Option<(ObjectName, u16)>, Protocol) {
    let Some(service) = snapshot.service_by_vip(dialled.ip()) else {
        return (None, Protocol::Unknown);
    };
    let protocol = service
        .endpoints_of_port(dialled.port())
        .map_or(Protocol::Tcp, |(port, _)| Protocol::of(port));
    let name = service.service.name.clone();
    (Some((name, dialled.port())), protocol)
}

/// A connection of which it is not known yet what it speaks.
struct Arrival<'a> {
    worker: &'a Rc<Worker>,
    pod: &'a Rc<LocalPod>,
    stream: TcpStream,
    peer: SocketAddr,
    dialled: SocketAddr,
    service: Option<(ObjectName, u16)>,
    protocol: Protocol,
    registered: Registered,
    /// What was read of the client to find out.
    buffer: BytesMut,
}

impl Arrival<'_> {
    /// What the client's first bytes say; `None` where it waits for the server's.
    async fn first(&mut self) -> Result<Option<First>, Reason> {
        match self.protocol {
            Protocol::Tcp => return Ok(Some(First::Opaque)),
            Protocol::Unknown if self.worker.is_server_first(self.dialled) => {
                return Ok(Some(First::Opaque));
            }
            Protocol::Unknown | Protocol::Tls => {
                let read = self.stream.read_buf(&mut self.buffer);
                match timeout(FIRST_BYTE_WAIT, read).await {
                    Err(_elapsed) => return Ok(None),
                    Ok(Ok(0)) => return Ok(Some(First::Opaque)),
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => return Err(Reason::DownstreamReset),
                }
            }
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => {}
        }
        self.read_first().await.map(Some)
    }

    async fn read_first(&mut self) -> Result<First, Reason> {
        let supervision = &self.registered.supervision;
        let first = async {
            if self.buffer.is_empty() {
                self.stream.read_buf(&mut self.buffer).await?;
            }
            // Slow clients are waited for, as long as a request's head may take.
            supervision.head_began();
            detect::first(&mut self.stream, &mut self.buffer).await
        };
        let first = tokio::select! {
            first = first => first.map_err(|_| Reason::DownstreamReset)?,
            reason = supervision.ended() => return Err(reason),
        };
        supervision.head_ended();
        // Where HTTP was announced, what else comes is answered as bad HTTP.
        let announced = self.protocol.is_http() && !self.buffer.is_empty();
        Ok(match first {
            First::Opaque if announced => First::Http1,
            first => first,
        })
    }

    async fn go_on(self, first: First) -> Option<Established> {
        match first {
            First::Http1 => Some(self.http(Speaks::Http1)),
            First::Http2 => Some(self.http(Speaks::Http2)),
            First::Tls(sni) => self.bytes(Some(sni)).await,
            First::Opaque => self.bytes(None).await,
        }
    }

    fn http(self, speaks: Speaks) -> Established {
        let outbound = Outbound::new(
            Rc::clone(self.worker),
            Rc::clone(self.pod),
            self.peer,
            self.dialled,
            self.service,
        );
        Established::Http(Box::new(Http {
            outbound: Rc::new(outbound),
            wire: Wire::new(Stream::Tcp(self.stream), self.buffer.freeze()),
            speaks,
            registered: self.registered,
        }))
    }

    /// `tls`: the client begins with a ClientHello, which names a host or none.
    async fn bytes(self, tls: Option<Option<Arc<str>>>) -> Option<Established> {
        let mut record = begin(self.worker, self.pod, self.peer, self.dialled);
        record.info_mut().sni = tls.clone().flatten();
        match self.reach(tls.as_ref(), &mut record).await {
            Ok((upstream, counted)) => self.established(upstream, counted, record).await,
            Err(failure) => refuse(&self.stream, record, failure),
        }
    }

    async fn reach(
        &self,
        tls: Option<&Option<Arc<str>>>,
        record: &mut ConnectionRecord,
    ) -> Result<(Upstream, Counted), Failure> {
        let snapshot = self.worker.snapshot();
        let namespace = &self.pod.workload().pod.name.namespace;
        let wanted = Wanted {
            dialled: self.dialled,
            client_namespace: namespace,
            tls: tls.map(|sni| sni.as_deref()),
            random: self.worker.balancer.random(),
        };
        let destination = reach::destination(self.worker, &snapshot, &wanted, record)?;
        drop(snapshot);
        let idle = destination.view().and_then(|view| view.idle_timeout());
        self.registered.supervision.set_idle_limit(idle);
        reach::connect(self.worker, self.pod, &destination, record).await
    }

    async fn established(
        self,
        mut upstream: Upstream,
        counted: Counted,
        mut record: ConnectionRecord,
    ) -> Option<Established> {
        describe(&mut record, &upstream);
        record.established();
        if !self.buffer.is_empty() {
            record.received(self.buffer.len() as u64);
            let bytes = self.buffer.freeze();
            if let Err(error) = upstream.begin_with(bytes).await {
                let failure = Failure::new(Reason::UpstreamReset, error.to_string());
                return refuse(&self.stream, record, failure);
            }
        }
        Some(Established::Bytes(Box::new(Carried {
            stream: self.stream,
            upstream,
            record,
            registered: self.registered,
            _counted: counted,
        })))
    }

    /// The client is silent: the server is dialled, and whose byte comes first decides.
    async fn watch_both(mut self) -> Option<Established> {
        let mut record = begin(self.worker, self.pod, self.peer, self.dialled);
        let (mut upstream, counted) = match self.reach(None, &mut record).await {
            Ok(reached) => reached,
            Err(failure) => return refuse(&self.stream, record, failure),
        };
        let ended = tokio::select! {
            _ = self.stream.read_buf(&mut self.buffer) => None,
            () = upstream.greets() => {
                self.worker.learn_server_first(self.dialled);
                return self.established(upstream, counted, record).await;
            }
            reason = self.registered.supervision.ended() => Some(reason),
        };
        let first = match ended {
            None => self.read_first().await,
            Some(reason) => Err(reason),
        };
        match first {
            Ok(First::Http1) => {
                record.dismiss();
                Some(self.http(Speaks::Http1))
            }
            Ok(First::Http2) => {
                record.dismiss();
                Some(self.http(Speaks::Http2))
            }
            Ok(First::Tls(sni)) => {
                record.info_mut().sni = sni;
                self.established(upstream, counted, record).await
            }
            Ok(First::Opaque) => self.established(upstream, counted, record).await,
            Err(reason) => refuse(&self.stream, record, Failure::new(reason, "")),
        }
    }
}

/// What protects the bytes, and so whose word counts for the source.
fn describe(record: &mut ConnectionRecord, upstream: &Upstream) {
    match upstream {
        Upstream::Tunnel(_) => record.info_mut().security = SecurityPolicy::MutualTls,
        Upstream::Local(_) => {}
        Upstream::Plain(_) => record.info_mut().source_principal = None,
    }
}

fn begin(
    worker: &Worker,
    pod: &LocalPod,
    client: SocketAddr,
    dialled: SocketAddr,
) -> ConnectionRecord {
    let workload = pod.workload();
    let mut info = ConnectionInfo::new(Reporter::Source, client, dialled);
    info.source_principal = Some(workload.identity.clone());
    info.source = Some(workload);
    worker.telemetry.begin(info)
}

/// Says no as the kernel would: with a reset.
fn refuse(stream: &TcpStream, record: ConnectionRecord, failure: Failure) -> Option<Established> {
    reset_on_close(stream);
    record.finish(failure.reason, Some(failure.detail));
    None
}
