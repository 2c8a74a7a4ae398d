//! Pins whose layout this agent does not know: they are replaced, it says so, and goes on.

use weir_tests::{Mesh, OnExit, bpf::edit_pinned_array};

#[test]
fn pins_of_another_layout_are_replaced_with_a_clear_line() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agent(mesh.agent("n1"));
    let hold = || mesh.start_agent(mesh.agent("n2").on_exit(OnExit::Hold));
    hold().stop();
    // The version of the layout comes first in META (ebpf/abi).
    let meta = mesh.bpffs("n2").join("maps/META");
    edit_pinned_array(&meta, |value| {
        value[..4].copy_from_slice(&999_u32.to_ne_bytes())
    })
    .unwrap();

    let agent = hold();
    let log = agent.log();
    let told = log.lines().filter(|line| line.contains("999")).count();
    assert_eq!(told, 1, "{log}");
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);

    // Nothing of the old layout is in the way afterwards either.
    agent.stop();
    mesh.start_agent(mesh.agent("n2")).stop();
    assert!(!mesh.bpffs("n2").exists());
}
