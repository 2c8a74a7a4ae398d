//! `cargo xtask demo`: two nodes with three pods each, made of network namespaces, first without Weir,
//! then with it. It shows what changes: the bytes on the wire, who is known to talk to whom, and the time.
//!
//! What it prints it has checked: a page that does not come, plaintext between the nodes or a missing
//! identity ends it with an error.

mod cast;
mod speed;
mod talks;
mod wire;

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use weir_tests::wait_for;

use crate::build::{self, Profile};
use crate::process;
use crate::say::{Step, say};
use crate::setup;
use crate::workspace;
use cast::{Cast, Way};

/// Names the agent to show; the harness, too, reads it.
const AGENT_ENV: &str = "WEIR_BIN";

#[derive(clap::Args)]
#[command(after_help = "WEIR_BIN=PATH shows that agent and builds none.")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<()> {
    if env::var_os(AGENT_ENV).is_some() && rustix::process::geteuid().is_root() {
        return show();
    }
    setup::for_demo()?;
    let agent = match env::var_os(AGENT_ENV) {
        Some(agent) => agent.into(),
        None => build::agent(&build::bpf_object(&setup::for_build()?)?, Profile::Release)?,
    };
    // The second half is a process of its own: it alone needs root, what is built stays the user's.
    let mut assignment = std::ffi::OsString::from(format!("{AGENT_ENV}="));
    assignment.push(agent);
    let mut second_half = as_root("env")?;
    second_half
        .arg(assignment)
        .arg(env::current_exe()?)
        .arg("demo");
    process::run(&mut second_half)
}

fn as_root(program: &str) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    ensure!(
        workspace::find_program("sudo").is_some(),
        "network namespaces and BPF need root, and there is no sudo here: run this as root"
    );
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

fn show() -> Result<()> {
    let whole = Step::quiet();
    let step = Step::quiet();
    let cast = Cast::assemble();
    step.done("two nodes with three pods each, nginx and Redis are running");
    cast.introduce();

    say("without the mesh: the same clients, to the pods' own addresses");
    let before = wire::watch(&cast, Way::Pods)?;
    let speed_before = speed::measure(&cast, Way::Pods)?;

    let step = Step::quiet();
    cast.mesh.start_agents();
    step.done("an agent on each node is ready");
    enrol(&cast)?;

    say("through the mesh: the same programs, to the services' addresses");
    let after = wire::watch(&cast, Way::Services)?;
    let speed_after = speed::measure(&cast, Way::Services)?;

    wire::compare(&before, &after)?;
    talks::tell(&cast)?;
    speed::compare(&speed_before, &speed_after);
    println!();
    clean_up(cast)?;
    whole.done("the demo is over");
    Ok(())
}

/// Labels the pods. Nothing in them is restarted: the servers' process ids are compared.
fn enrol(cast: &Cast) -> Result<()> {
    let pids = cast.server_pids();
    let step = Step::quiet();
    for pod in cast.pods() {
        pod.enrol(true);
    }
    for pod in cast.pods() {
        cast.mesh.agent_of(pod).wait_captured(pod);
    }
    step.done("six pods enrolled by a label");
    ensure!(
        pids == cast.server_pids() && cast.servers_run(),
        "a server was restarted"
    );
    Ok(())
}

/// Ends the agents as a node's service manager would, and looks that nothing of theirs stays.
fn clean_up(cast: Cast) -> Result<()> {
    let step = Step::quiet();
    for node in ["n1", "n2"] {
        cast.mesh.agent_on(node).stop();
    }
    let links_gone = wait_for(speed::PATIENCE, || {
        cast.mesh.bpf_links().is_empty().then_some(())
    });
    links_gone.context("the agents have ended, but BPF programs of theirs are still attached")?;

    let namespaces = cast.pods().map(|pod| pod.netns().path().to_owned());
    drop(cast);
    let left = namespaces.iter().find(|path| path.exists());
    ensure!(left.is_none(), "a network namespace was left: {left:?}");
    step.done("cleaned up: no BPF program and no network namespace is left");
    Ok(())
}
