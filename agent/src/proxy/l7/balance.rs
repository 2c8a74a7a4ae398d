//! What this thread knows of each endpoint's load, for the choice among them.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::{model::service::Endpoint, traffic::balance::ewma::Ewma};

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
pub(in crate::proxy) struct InFlight {
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

    /// What one more request would cost at `endpoint`, in seconds of waiting, each request that is
    /// under way there counting `factor` times.
    pub(in crate::proxy) fn cost(&self, endpoint: Endpoint, factor: f64) -> f64 {
        let now = self.started.elapsed();
        match self.loads.borrow().get(&endpoint) {
            Some(load) => {
                let pending = f64::from(load.pending.get()) * factor;
                load.latency.borrow().cost_beside(now, pending)
            }
            None => Ewma::default().cost(now, 0),
        }
    }

    /// Requests that this thread has under way there.
    pub(in crate::proxy) fn pending(&self, endpoint: Endpoint) -> u32 {
        let loads = self.loads.borrow();
        loads.get(&endpoint).map_or(0, |load| load.pending.get())
    }

    /// The endpoint gets a request.
    pub(in crate::proxy) fn begin(&self, endpoint: Endpoint) -> InFlight {
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

    pub(in crate::proxy) fn answered(&mut self) {
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
