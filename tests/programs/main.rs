//! The applications of the scenarios: one program, a subcommand for each way to behave.
//!
//! ```text
//! weir-testprog serve BEHAVIOUR ADDR     echo, greet, whoami, reply-at-eof, close-first, reset,
//!                                        source, silent, bulk:BYTES
//!                                        canned:TEXT or @FILE
//! weir-testprog http ADDR NAME           HTTP/1.1 and h2c; what it answers the query says, and orders
//! weir-testprog http-load [FLAGS] ADDR PER_SECOND    GET at a steady rate until stdin ends
//! weir-testprog talk [FLAGS] ADDR STEP…  one connection, step by step; one report at its end
//! weir-testprog bulk ADDR BYTES          that many bytes both ways at once, every one checked
//! weir-testprog hold ADDR N              N connections at once; `check` on stdin tries them all
//! weir-testprog load ADDR PER_SECOND     connections at a steady rate until stdin ends
//! weir-testprog dial-many FROM ADDR…     several destinations from one bound source address
//! weir-testprog udp-serve ADDR, udp-talk ADDR TEXT
//! ```
//!
//! Everything is told in JSON lines on standard output. The programs know nothing of a mesh.

mod bulk;
mod clients;
#[cfg(feature = "peers")]
mod http;
#[cfg(feature = "peers")]
mod http_load;
mod io;
mod load;
mod serve;
mod talk;
mod udp;

use std::{error::Error, process::ExitCode};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-testprog {}: {error}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Outcome {
    match args {
        ["serve", behaviour, addr] => serve::run(behaviour, addr.parse()?),
        #[cfg(feature = "peers")]
        ["http", addr, name] => http::run(addr.parse()?, name),
        #[cfg(feature = "peers")]
        ["http-load", args @ ..] => http_load::run(args),
        ["talk", args @ ..] => talk::run(args),
        ["bulk", addr, bytes] => bulk::client(addr.parse()?, bytes.parse()?),
        ["hold", addr, count] => clients::hold(addr.parse()?, count.parse()?),
        ["load", addr, per_second] => load::run(addr.parse()?, per_second.parse()?),
        ["dial-many", from, addrs @ ..] => clients::dial_many(from.parse()?, addrs),
        ["udp-serve", addr] => udp::serve(addr.parse()?),
        ["udp-talk", addr, text] => udp::talk(addr.parse()?, text),
        _ => Err("unknown arguments: see tests/programs/main.rs".into()),
    }
}
