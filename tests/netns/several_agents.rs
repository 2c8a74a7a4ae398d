//! Agents of two meshes on one machine, hooked at the same cgroup (the root, their default): with
//! folders of their own they do not touch each other.

use weir_tests::{Mesh, Pod};

#[test]
fn agents_with_different_folders_do_not_meet() {
    let a = running();
    let b = running();
    for (mesh, client, server, _) in [&a, &b] {
        client.expect_echo(server.v4(8080));
        mesh.expect_tunnelled(client, server, 1);
    }
    let redirected = |mesh: &Mesh| mesh.agent_on("n1").verdicts("outbound_redirected");
    let before = redirected(&b.0);
    for _ in 0..5 {
        a.1.expect_echo(a.2.v4(8080));
    }
    assert_eq!(
        redirected(&b.0),
        before,
        "one mesh counts the other's dials"
    );

    // One goes, the other does not notice.
    for node in ["n1", "n2"] {
        a.0.agent_on(node).stop();
        assert!(!a.0.bpffs(node).exists() && b.0.bpffs(node).exists());
    }
    b.1.expect_echo(b.2.v4(8080));
    b.0.expect_tunnelled(&b.1, &b.2, 2);
    a.1.expect_echo(a.2.v4(8080));
}

fn running() -> (Mesh, Pod, Pod, weir_tests::Proc) {
    let (mesh, client, server) = Mesh::client_and_server();
    let echo = server.serve("echo", 8080);
    for node in ["n1", "n2"] {
        mesh.start_agent(mesh.agent(node).default_cgroup());
    }
    (mesh, client, server, echo)
}
