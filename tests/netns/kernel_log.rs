//! What the BPF programs log goes where the agent's own log goes.

use std::time::Duration;

use weir_tests::{Mesh, eventually};

#[test]
fn lines_of_the_bpf_programs_reach_the_agents_log() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    client.expect_echo(server.v4(8080));
    let agent = mesh.agent_of(&client);
    eventually("a line of the BPF programs", Duration::from_secs(5), || {
        let log = agent.log();
        let line = log.lines().find(|line| line.contains("dials port 8080"));
        match line {
            Some(line) if line.contains("weir_ebpf::connect") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
