//! HTTP from outside: curl as the client, an application that tells what it received.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::Value;

use crate::{pod::Pod, poll::eventually, process::Proc};

/// How long a request may take where the scenario says nothing else.
const MAX_SECONDS: &str = "20";
/// A change of the manifests counts within a second (configuration.md), also on a busy machine.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
const H2: &str = "--http2-prior-knowledge";
/// What curl writes around the report of a transfer: neither is in a body of these tests.
const REPORT: char = '\u{1e}';
const END: char = '\u{1d}';

impl Pod {
    /// `weir-testprog http`: HTTP/1.1 and h2c on both families; its answers name the pod.
    #[track_caller]
    pub fn http(&self, port: u16) -> Proc {
        let addr = format!("[::]:{port}");
        let server = self.testprog(&["http", &addr, self.name()]).spawn();
        server.event_named("listening");
        server
    }

    /// A request to be, `GET /` as yet.
    pub fn request(&self, addr: SocketAddr, path: &str) -> Request<'_> {
        Request {
            client: self,
            url: format!("http://{addr}{path}"),
            flags: Vec::new(),
            count: 1,
        }
    }

    /// GET at a steady rate, until [`HttpLoad::stop`].
    #[track_caller]
    pub fn http_load(&self, addr: SocketAddr, per_second: u32) -> HttpLoad {
        self.http_load_with(&[], addr, per_second)
    }

    /// With flags: `--path`, `--header`, `--count`, `--patience`, `--slow` (http_load.rs).
    #[track_caller]
    pub fn http_load_with(&self, flags: &[&str], addr: SocketAddr, per_second: u32) -> HttpLoad {
        let load = self
            .testprog(&["http-load"])
            .args(flags)
            .args([addr.to_string(), per_second.to_string()]);
        HttpLoad(load.spawn())
    }

    #[track_caller]
    pub fn get(&self, addr: SocketAddr, path: &str) -> Answer {
        self.request(addr, path).send()
    }
}

/// What curl is to ask.
#[derive(Clone)]
pub struct Request<'a> {
    client: &'a Pod,
    url: String,
    flags: Vec<String>,
    count: usize,
}

impl Request<'_> {
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        match method {
            // With -X HEAD curl would wait for a body.
            "HEAD" => self.flags(&["--head"]),
            method => self.flags(&["-X", method]),
        }
    }

    /// An empty `value` takes a header of curl's own away.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.flags(&["-H", &format!("{name}: {value}")])
    }

    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.header("host", host)
    }

    /// The body, and POST where no method is said.
    #[must_use]
    pub fn body(self, body: &str) -> Self {
        self.flags(&["--data-binary", body])
    }

    /// HTTP/2 by prior knowledge.
    #[must_use]
    pub fn h2(self) -> Self {
        assert_eq!(self.count, 1, "see Request::times");
        self.flags(&[H2])
    }

    /// So many requests, one after the other, over one connection as long as it lives. HTTP/1.1
    /// alone: Debian 12's curl begins an h2c connection anew when it uses it again (h2load does not).
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        assert!(!self.flags.iter().any(|flag| flag == H2), "curl cannot");
        self.count = count;
        self
    }

    /// Any flag of curl's.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    #[track_caller]
    pub fn send(self) -> Answer {
        let mut answers = self.send_all();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// All of these, one after the other, by one curl over as few connections as their addresses allow.
    /// Each is sent once.
    #[track_caller]
    pub fn send_each(requests: Vec<Self>) -> Vec<Answer> {
        let Some(client) = requests.first().map(|request| request.client) else {
            return Vec::new();
        };
        let count = requests.len();
        let mut curl = client.command("curl");
        for (number, request) in requests.into_iter().enumerate() {
            if number > 0 {
                // What follows knows nothing of the flags before it.
                curl = curl.arg("--next");
            }
            curl = curl.args(request.arguments());
        }
        let run = curl.run();
        let answers = Answer::read_all(&run.stdout);
        assert_eq!(answers.len(), count, "{run:?}");
        answers
    }

    /// The answers in order.
    #[track_caller]
    pub fn send_all(self) -> Vec<Answer> {
        let count = self.count;
        let run = self.start().finish();
        let answers = Answer::read_all(&run.stdout);
        assert_eq!(answers.len(), count, "{run:?}");
        answers
    }

    /// Running: [`Answer::read_all`] reads its standard output.
    #[track_caller]
    pub fn start(self) -> Proc {
        self.client.command("curl").args(self.arguments()).spawn()
    }

    fn arguments(&self) -> Vec<String> {
        let report = format!("{REPORT}%{{json}}{REPORT}%{{header_json}}{END}");
        // Paths as they are written: no globs, no dot segments resolved.
        let mut arguments = ["-s", "-g", "--path-as-is", "--max-time", MAX_SECONDS]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(["--noproxy", "*", "-w", &report].map(str::to_owned));
        arguments.extend_from_slice(&self.flags);
        arguments.extend(vec![self.url.clone(); self.count]);
        arguments
    }

    /// Asks again and again until the answer is as wanted: a manifest has changed, and agents take
    /// it up in their own time.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        eventually(what, CHANGE_DEADLINE, || {
            let answer = self.clone().send();
            if wanted(&answer) {
                return Ok(answer);
            }
            Err(format!("{answer:?}"))
        })
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 0 where there was no answer.
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    /// Lower-case name → all its values, in order.
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: String,
    /// curl's words for what went wrong.
    pub error: Option<String>,
    /// curl's exit code.
    pub exit_code: u64,
    /// Connections that were opened for it.
    pub dials: u64,
    /// From the beginning to the first byte of the answer, and to its end.
    pub first_byte: Duration,
    pub took: Duration,
    /// Bytes of the body that arrived, also those that curl did not keep.
    pub body_bytes: u64,
}

impl Answer {
    pub fn read_all(stdout: &str) -> Vec<Self> {
        let ended: Vec<_> = stdout.split(END).collect();
        let complete = ended.split_last().map_or(&[][..], |(_, complete)| complete);
        complete.iter().map(|text| Self::read(text)).collect()
    }

    fn read(text: &str) -> Self {
        let mut parts = text.rsplitn(3, REPORT);
        let mut json = || -> Value {
            let part = parts.next().unwrap_or_default();
            serde_json::from_str(part).unwrap_or_default()
        };
        let (headers, report) = (json(), json());
        let seconds = |key: &str| Duration::from_secs_f64(report[key].as_f64().unwrap_or(0.0));
        let number = |key: &str| report[key].as_u64().unwrap_or(0);
        Self {
            status: u16::try_from(number("response_code")).unwrap_or(0),
            version: report["http_version"].as_str().unwrap_or_default().into(),
            headers: serde_json::from_value(headers).unwrap_or_default(),
            body: parts.next().unwrap_or_default().to_owned(),
            error: report["errormsg"].as_str().map(str::to_owned),
            exit_code: number("exitcode"),
            dials: number("num_connects"),
            first_byte: seconds("time_starttransfer"),
            took: seconds("time_total"),
            body_bytes: number("size_download"),
        }
    }

    /// The first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.first()?)
    }

    /// Why Weir itself answered; `None` when the application did.
    pub fn reason(&self) -> Option<&str> {
        self.header("x-weir-reason")
    }

    /// What the application tells of the request; null where it is not its answer.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The pod that answered; empty where none did.
    pub fn server(&self) -> String {
        let report = self.report();
        report["server"].as_str().unwrap_or_default().to_owned()
    }

    /// The application's first value of a header of the request.
    pub fn seen(&self, header: &str) -> Option<String> {
        let value = &self.report()["headers"][header][0];
        value.as_str().map(str::to_owned)
    }

    /// Answered with 200 by the pod of this name.
    pub fn is_from(&self, server: &str) -> bool {
        self.status == 200 && self.server() == server
    }
}

/// A client that asks at a steady rate.
pub struct HttpLoad(Proc);

impl HttpLoad {
    /// What it has told last.
    pub fn report(&self) -> LoadReport {
        LoadReport(self.0.events().pop().unwrap_or_default())
    }

    /// Waits until `n` more requests have been answered with 200.
    #[track_caller]
    pub fn wait_for_more(&self, n: u64) {
        let goal = self.report().answers("200") + n;
        eventually("more answers", CHANGE_DEADLINE, || {
            let report = self.report();
            (report.answers("200") >= goal).then_some(()).ok_or(report)
        });
    }

    /// Stops it, or waits until it has sent as many as it was to send.
    #[track_caller]
    pub fn stop(self) -> LoadReport {
        let finished = self.0.finish();
        let last = crate::process::json_lines(&finished.stdout).pop();
        LoadReport(last.unwrap_or_else(|| panic!("the load told nothing: {finished:?}")))
    }
}

/// What became of the requests of a [`HttpLoad`].
#[derive(Clone, Debug, Default)]
pub struct LoadReport(pub Value);

impl LoadReport {
    pub fn sent(&self) -> u64 {
        self.number("sent")
    }

    /// How many answers were `200`, or `503 pool_full`.
    pub fn answers(&self, wanted: &str) -> u64 {
        self.0["answers"][wanted].as_u64().unwrap_or(0)
    }

    /// How many answers with 200 came from this pod.
    pub fn from(&self, server: &str) -> u64 {
        self.0["servers"][server].as_u64().unwrap_or(0)
    }

    /// Any count by its name: `late`, `slow`, `failed`, `held_back`.
    pub fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }

    pub fn seconds(&self) -> f64 {
        self.0["seconds"].as_f64().unwrap_or(0.0)
    }

    /// The share of answers that came within this time is `percentile`: `p50`, `p99`, `max`.
    pub fn took(&self, percentile: &str) -> Duration {
        let ms = self.0["ms"][percentile].as_f64().unwrap_or(0.0);
        Duration::from_secs_f64(ms / 1e3)
    }

    /// Every request was sent when it was due and answered with 200.
    pub fn is_all_well(&self) -> bool {
        self.sent() > 0 && self.answers("200") == self.sent() && self.number("held_back") == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_curl_writes() {
        let one = concat!(
            "{\"server\":\"a\",\"headers\":{\"x\":[\"1\"]}}\n",
            "\u{1e}{\"response_code\":200,\"time_total\":0.5,\"num_connects\":1,\"errormsg\":null}",
            "\u{1e}{\"x-weir-reason\":[\"no_route\"]}\u{1d}",
        );
        let answers = Answer::read_all(&format!("{one}{one}"));
        assert_eq!(answers.len(), 2);
        let answer = &answers[1];
        assert!(answer.is_from("a"), "{answer:?}");
        assert_eq!(answer.reason(), Some("no_route"));
        assert_eq!(answer.seen("x").as_deref(), Some("1"));
        assert_eq!(answer.took, Duration::from_millis(500));
        assert_eq!((answer.error.as_deref(), answer.dials), (None, 1));
    }
}
