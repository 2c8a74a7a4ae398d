//! What a scenario tells the application while it runs, and what the application has counted.
//!
//! Orders come on standard input, one a line, `NUMBER ORDER`, and go round every network. Each is
//! answered by the event `ordered` with its number, once it is in force, and the counts till then.
//!
//! | order | is |
//! |---|---|
//! | `answer [next=N] [percent=P] [path=/PATH] [QUERY]` | answers as if each request's own query began with this one: all requests, the next ones, that share of them, or those of a path, which other orders then leave alone; without QUERY as usual |
//! | `capacity N` | works on so many requests at a time, in order, and to the end also when the client has gone; 0: on all of them |
//! | `counts` | nothing |
//! | `forget` | begins to count anew |

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use http::request;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::io::tell;

/// Headers of which every value is counted.
const COUNTED_HEADERS: [&str; 3] = ["x-weir-retry-depth", "tracestate", "grpc-timeout"];
/// Different values of one thing that are counted apart.
const VALUES_MAX: usize = 1_000;

#[derive(Clone, Default)]
pub(super) struct Orders(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    standing: Vec<Standing>,
    capacity: Option<Arc<Semaphore>>,
    counts: Counts,
    /// Requests that are being answered.
    under_way: u64,
    /// Of this program's life; nothing forgets it.
    number: u64,
}

/// An `answer` that is in force.
#[derive(Default)]
struct Standing {
    path: Option<String>,
    next: Option<u64>,
    percent: Option<u64>,
    query: String,
    /// Requests that it was asked for.
    asked: u64,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    connections: u64,
    /// Requests whose client went before the answer.
    cancelled: u64,
    /// The most that were under way at a time.
    most: u64,
    by_path: BTreeMap<String, u64>,
    by_method: BTreeMap<String, u64>,
    by_header: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A request that is being answered; dropped before [`UnderWay::answered`], its client has gone.
pub(super) struct UnderWay {
    orders: Orders,
    pub(super) number: u64,
    /// Comes before the request's own query.
    pub(super) query: String,
    answered: bool,
}

impl Orders {
    /// Takes orders as long as there are any.
    pub(super) fn listen(&self) {
        let orders = self.clone();
        // A read of standard input cannot be called off.
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                let (number, order) = line.split_once(' ').unwrap_or((&line, ""));
                let error = orders.take(order).err();
                let counts = orders.lock().counts.tell();
                tell(&json!({
                    "event": "ordered",
                    "number": number.parse::<u64>().ok(),
                    "error": error,
                    "counts": counts,
                }));
            }
        });
    }

    pub(super) fn connected(&self) {
        self.lock().counts.connections += 1;
    }

    pub(super) fn begin(&self, parts: &request::Parts) -> UnderWay {
        let mut state = self.lock();
        state.number += 1;
        state.under_way += 1;
        let (number, under_way) = (state.number, state.under_way);
        state.counts.count(parts, under_way);
        UnderWay {
            orders: self.clone(),
            number,
            query: state.query_for(parts.uri.path()),
            answered: false,
        }
    }

    pub(super) fn capacity(&self) -> Option<Arc<Semaphore>> {
        self.lock().capacity.clone()
    }

    fn take(&self, order: &str) -> Result<(), String> {
        let mut words = order.split(' ');
        let mut state = self.lock();
        match words.next() {
            Some("answer") => {
                let standing = Standing::read(words)?;
                state.standing.retain(|old| old.path != standing.path);
                state.standing.push(standing);
            }
            Some("capacity") => {
                let count = words.next().and_then(|word| word.parse().ok());
                let count = count.ok_or_else(|| format!("no number: {order}"))?;
                state.capacity = (count > 0).then(|| Arc::new(Semaphore::new(count)));
            }
            Some("counts") => {}
            Some("forget") => state.counts = Counts::default(),
            _ => return Err(format!("no such order: {order}")),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What stands for requests of this path, if it is this one's turn.
    fn query_for(&mut self, path: &str) -> String {
        let of_path = |standing: &Standing| standing.path.as_deref() == Some(path);
        let found = self.standing.iter().position(of_path);
        let found = found.or_else(|| self.standing.iter().position(|s| s.path.is_none()));
        let due = found.and_then(|at| {
            let standing = self.standing.get_mut(at)?;
            standing.is_due().then(|| standing.query.clone())
        });
        due.unwrap_or_default()
    }
}

impl Standing {
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut standing = Self::default();
        for word in words {
            let number = |text: &str| text.parse().map_err(|_| format!("no number: {word}"));
            match word.split_once('=') {
                Some(("path", path)) => standing.path = Some(path.to_owned()),
                Some(("next", count)) => standing.next = Some(number(count)?),
                Some(("percent", share)) => standing.percent = Some(number(share)?),
                _ => word.clone_into(&mut standing.query),
            }
        }
        Ok(standing)
    }

    /// A share is exact: of each hundred requests so many, evenly.
    fn is_due(&mut self) -> bool {
        let before = self.asked;
        self.asked += 1;
        let share = self.percent.unwrap_or(100);
        self.next.is_none_or(|count| before < count)
            && self.asked * share / 100 > before * share / 100
    }
}

impl Counts {
    fn count(&mut self, parts: &request::Parts, under_way: u64) {
        self.requests += 1;
        self.most = self.most.max(under_way);
        add(&mut self.by_path, parts.uri.path());
        add(&mut self.by_method, parts.method.as_str());
        for name in COUNTED_HEADERS {
            for value in parts.headers.get_all(name) {
                let value = String::from_utf8_lossy(value.as_bytes());
                add(self.by_header.entry(name.to_owned()).or_default(), &value);
            }
        }
    }

    fn tell(&self) -> Value {
        json!({
            "requests": self.requests,
            "connections": self.connections,
            "cancelled": self.cancelled,
            "most": self.most,
            "by_path": self.by_path,
            "by_method": self.by_method,
            "by_header": self.by_header,
        })
    }
}

fn add(counts: &mut BTreeMap<String, u64>, value: &str) {
    if counts.len() < VALUES_MAX || counts.contains_key(value) {
        *counts.entry(value.to_owned()).or_default() += 1;
    }
}

impl UnderWay {
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.orders.lock();
        state.under_way -= 1;
        if !self.answered {
            state.counts.cancelled += 1;
            tell(&json!({"event": "cancelled", "request": self.number}));
        }
    }
}
