//! Which path answers what, and on which address.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    Admin, Liveness, Readiness, Surface, body::Body, config, explain, server::Life, status, tap,
};
use crate::telemetry::exposition::Format;

pub(super) type Answer = Response<Body>;

/// How long the data plane's event loops may take to answer.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(2);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

const INDEX: &str = "\
weir agent
  /metrics        Prometheus metrics
  /healthz/live   200 while the data plane's event loops answer
  /healthz/ready  200 once the agent can be counted on, else what is missing
  /debug/status   the agent and the services that it reaches: [?all=true][&output=text]
  /debug/config   the configuration in force
  /debug/pods     this node's pods and their capture
  /debug/explain  what would become of a request: ?from=NAMESPACE/POD&to=URL
                  [&method=M][&header=Name: value]...[&output=text]
  /debug/tap      requests as they end, a line each:
                  [?namespace=N][&pod=P][&service=S][&path=PREFIX][&method=M][&status=5xx][&reason=R]
";

pub(super) async fn answer<B>(
    admin: &Arc<Admin>,
    surface: Surface,
    request: &Request<B>,
    life: &Life,
) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match (surface, request.uri().path()) {
        (_, "/metrics") => metrics(admin, request).await,
        (_, "/healthz/live") => live(admin).await,
        (_, "/healthz/ready") => ready(admin),
        (Surface::Admin, "/") => text(StatusCode::OK, INDEX.to_owned()),
        (Surface::Admin, "/debug/status") => status(admin, request.uri().query()).await,
        (Surface::Admin, "/debug/config") => {
            let snapshot = (admin.sources.snapshot)();
            json(admin, move || config::describe(&snapshot)).await
        }
        (Surface::Admin, "/debug/pods") => {
            let pods = (admin.sources.pods)();
            json(admin, move || pods).await
        }
        (Surface::Admin, "/debug/explain") => explain(admin, request.uri().query()).await,
        (Surface::Admin, "/debug/tap") => tap(admin, request.uri().query(), life),
        (Surface::Admin, _) => text(StatusCode::NOT_FOUND, format!("no such path; try\n{INDEX}")),
        (Surface::Metrics, _) => text(
            StatusCode::NOT_FOUND,
            "here are /metrics, /healthz/live and /healthz/ready; the rest is on the admin address\n"
                .to_owned(),
        ),
    }
}

async fn metrics<B>(admin: &Arc<Admin>, request: &Request<B>) -> Answer {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::negotiate(accept);
    let telemetry = admin.sources.telemetry.clone();
    match write_large(admin, move || telemetry.expose(format).into_bytes()).await {
        Ok(body) => respond(StatusCode::OK, format.content_type(), body),
        Err(answer) => answer,
    }
}

async fn json(admin: &Arc<Admin>, value: impl FnOnce() -> Value + Send + 'static) -> Answer {
    let body = write_large(admin, move || {
        let mut body = serde_json::to_vec_pretty(&value()).unwrap_or_default();
        body.push(b'\n');
        body
    });
    match body.await {
        Ok(body) => respond(StatusCode::OK, JSON, body),
        Err(answer) => answer,
    }
}

/// Writes an answer of megabytes away from the control runtime, one at a time.
async fn write_large(
    admin: &Arc<Admin>,
    write: impl FnOnce() -> Vec<u8> + Send + 'static,
) -> Result<Vec<u8>, Answer> {
    let failed = |why: &dyn std::fmt::Display| {
        text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the answer could not be written: {why}\n"),
        )
    };
    let _turn = admin
        .writing
        .acquire()
        .await
        .map_err(|error| failed(&error))?;
    tokio::task::spawn_blocking(write)
        .await
        .map_err(|error| failed(&error))
}

async fn explain(admin: &Arc<Admin>, query: Option<&str>) -> Answer {
    let asked = match explain::Asked::read(query.unwrap_or_default()) {
        Ok(asked) => asked,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let snapshot = (admin.sources.snapshot)();
    let content_type = content_type(asked.output);
    match write_large(admin, move || asked.answer(&snapshot)).await {
        Ok(body) => respond(StatusCode::OK, content_type, body),
        Err(answer) => answer,
    }
}

async fn status(admin: &Arc<Admin>, query: Option<&str>) -> Answer {
    let asked = match status::Asked::read(query.unwrap_or_default()) {
        Ok(asked) => asked,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let content_type = content_type(asked.output);
    let status = status::Status::read(admin, asked);
    match write_large(admin, move || status.write(asked.output)).await {
        Ok(body) => respond(StatusCode::OK, content_type, body),
        Err(answer) => answer,
    }
}

fn content_type(output: explain::Output) -> &'static str {
    match output {
        explain::Output::Json => JSON,
        explain::Output::Text => TEXT,
    }
}

fn tap(admin: &Admin, query: Option<&str>, life: &Life) -> Answer {
    let filter = match tap::filter(query.unwrap_or_default()) {
        Ok(filter) => filter,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match admin.sources.telemetry.tap(filter) {
        Ok(stream) => {
            life.becomes_a_tap();
            answer_with(StatusCode::OK, LINES, Body::tap(stream))
        }
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn live(admin: &Admin) -> Answer {
    match timeout(LIVENESS_TIMEOUT, (admin.sources.liveness)()).await {
        Ok(Liveness::Live) => text(StatusCode::OK, "live\n".to_owned()),
        Ok(Liveness::Stuck(loops)) => unavailable("stuck", &loops),
        Err(_) => {
            let late = format!("no answer from the data plane within {LIVENESS_TIMEOUT:?}");
            unavailable("stuck", &[late])
        }
    }
}

fn ready(admin: &Admin) -> Answer {
    match (admin.sources.readiness)() {
        Readiness::Ready => text(StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(missing) => unavailable("not ready", &missing),
    }
}

fn unavailable(what: &str, why: &[String]) -> Answer {
    let mut body = format!("{what}\n");
    for line in why {
        body.push_str("- ");
        body.push_str(line);
        body.push('\n');
    }
    text(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn text(status: StatusCode, body: String) -> Answer {
    respond(status, TEXT, body.into_bytes())
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    answer_with(status, content_type, Body::whole(body))
}

fn answer_with(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
