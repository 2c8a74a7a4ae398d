//! `weir uninstall` removes what an agent left on a node.

use weir_tests::{Mesh, OnExit};

#[test]
fn uninstall_removes_what_hold_has_left() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    for node in ["n1", "n2"] {
        mesh.start_agent(mesh.agent(node).on_exit(OnExit::Hold));
    }
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
    for node in ["n1", "n2"] {
        mesh.agent_on(node).stop();
    }
    assert!(!mesh.bpf_links().is_empty());
    assert!(client.hello(server.v4(8080)).is_refused());

    for node in ["n1", "n2"] {
        let bpffs = mesh.bpffs(node);
        mesh.weir(node, &["uninstall", "--bpffs"])
            .arg(&bpffs)
            .run()
            .expect_ok();
        assert!(!bpffs.exists());
    }
    assert_eq!(mesh.bpf_links(), []);
    client.expect_echo(server.v4(8080));
}
