//! Which endpoint a request goes to: what this thread knows of each endpoint's load, and the choice.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::{
    model::service::Endpoint,
    traffic::balance::ewma::{self, Ewma},
};

/// Endpoints whose load a thread remembers; past it those without requests are forgotten.
const LOADS_MAX: usize = 16_384;

/// The loads of the endpoints that this thread has sent requests to.
pub(in crate::proxy) struct Balancer {
    loads: RefCell<HashMap<Endpoint, Rc<Load>, RandomState>>,
    started: Instant,
    random: Cell<u64>,
}

struct Load {
    latency: RefCell<Ewma>,
    pending: Cell<u32>,
}

/// A request that an endpoint is busy with; its answer's head is what latency means.
pub(super) struct InFlight {
    load: Rc<Load>,
    began: Instant,
    started: Instant,
    answered: bool,
}

impl Balancer {
    pub(in crate::proxy) fn new(seed: u64) -> Self {
        Self {
            loads: RefCell::default(),
            started: Instant::now(),
            random: Cell::new(seed | 1),
        }
    }

    /// Good enough for choices, and cheap (xorshift64*).
    pub(in crate::proxy) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The better of two of these endpoints, less those that were tried already.
    pub(super) fn choose(&self, usable: &[Endpoint], tried: &[Endpoint]) -> Option<Endpoint> {
        if tried.is_empty() {
            return match usable {
                [] => None,
                [only] => Some(*only),
                several => self.pick(several),
            };
        }
        let left: Vec<Endpoint> = usable
            .iter()
            .filter(|endpoint| !tried.contains(endpoint))
            .copied()
            .collect();
        match left.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => self.pick(several),
        }
    }

    fn pick(&self, endpoints: &[Endpoint]) -> Option<Endpoint> {
        let now = self.started.elapsed();
        let loads = self.loads.borrow();
        let cost = |index: usize| match loads.get(&endpoints[index]) {
            Some(load) => load.latency.borrow().cost(now, load.pending.get() as usize),
            None => Ewma::default().cost(now, 0),
        };
        let index = ewma::pick(endpoints.len(), self.random(), cost)?;
        endpoints.get(index).copied()
    }

    /// The endpoint gets a request.
    pub(super) fn begin(&self, endpoint: Endpoint) -> InFlight {
        let mut loads = self.loads.borrow_mut();
        if loads.len() >= LOADS_MAX && !loads.contains_key(&endpoint) {
            loads.retain(|_, load| load.pending.get() > 0);
        }
        let load = loads.entry(endpoint).or_insert_with(|| {
            Rc::new(Load {
                latency: RefCell::new(Ewma::default()),
                pending: Cell::new(0),
            })
        });
        load.pending.set(load.pending.get() + 1);
        InFlight {
            load: Rc::clone(load),
            began: Instant::now(),
            started: self.started,
            answered: false,
        }
    }
}

impl InFlight {
    /// Only now the endpoint gets the request: what dialling took says nothing of its load.
    pub(super) fn connected(&mut self) {
        self.began = Instant::now();
    }

    pub(super) fn answered(&mut self) {
        if !self.answered {
            self.answered = true;
            let now = Instant::now();
            self.load.latency.borrow_mut().record(
                now.duration_since(self.began),
                now.duration_since(self.started),
            );
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // One that never answered took this long at least.
        self.answered();
        self.load
            .pending
            .set(self.load.pending.get().saturating_sub(1));
    }
}
