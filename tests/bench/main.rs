//! `weir-bench`: the same load through several paths, interleaved; `cargo xtask bench` builds and runs it.
//!
//! One binary with four roles, so that a run needs nothing installed but nginx and Envoy:
//!
//! - `run`: builds the namespaces, starts the paths, drives the rounds, reports ([`run`]);
//! - `load`: what `run` starts inside a client's namespace ([`load`]);
//! - `probe`: asks once whether a path is up ([`load::probe`]);
//! - `sink`: the receiving end of a bulk stream ([`load::bulk`]).

mod args;
mod certs;
mod load;
mod machine;
mod paths;
mod pipeline;
mod process;
mod report;
mod run;
mod sandbox;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("run") => run::run(&args::RunArgs::parse(words)?),
        Some("load") => load::main(&load::LoadArgs::parse(words)?),
        Some("probe") => load::probe(words),
        Some("sink") => load::bulk::sink(words),
        _ => bail!("usage: weir-bench run … (see `cargo xtask bench --help`)"),
    }
}
