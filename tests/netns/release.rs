//! `--on-exit release` leaves nothing behind: the kernel holds what it held before.

use weir_tests::{Mesh, OnExit, Pod, TcpState, bpf::LinkTarget};

#[test]
fn a_released_node_is_as_it_was() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    let pods = [&client, &server];
    let before = State::of(&mesh, pods);
    assert_eq!(before.links, [], "the control: nothing is attached yet");

    mesh.start_agents();
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
    assert_ne!(State::of(&mesh, pods), before);
    stop_both(&mesh);
    assert_eq!(State::of(&mesh, pods), before);

    // After a crash, too: the next agent inherits, and releases, what was left.
    let held = |node| mesh.start_agent(mesh.agent(node).on_exit(OnExit::Hold));
    [held("n1"), held("n2")]
        .iter()
        .for_each(weir_tests::Agent::kill);
    assert_ne!(State::of(&mesh, pods), before);
    mesh.start_agents();
    stop_both(&mesh);
    assert_eq!(State::of(&mesh, pods), before);

    // And plain TCP works as if there had never been a mesh.
    client.expect_echo(server.v4(8080));
    assert_eq!(client.hello(server.v4(1)).error(), "refused");
}

fn stop_both(mesh: &Mesh) {
    ["n1", "n2"]
        .map(|node| mesh.agent_on(node))
        .iter()
        .for_each(weir_tests::Agent::stop);
}

#[derive(Debug, PartialEq)]
struct State {
    /// Links of the kernel on the cgroup and the namespaces.
    links: Vec<LinkTarget>,
    /// Listening and open sockets in the pods.
    sockets: Vec<String>,
    interfaces: Vec<Vec<String>>,
    pins: Vec<bool>,
}

impl State {
    fn of(mesh: &Mesh, pods: [&Pod; 2]) -> Self {
        let sockets = pods.iter().flat_map(|pod| pod.netns().tcp_sockets());
        // What has ended lingers in TIME_WAIT, with and without a mesh.
        let lasting =
            sockets.filter(|s| matches!(s.state, TcpState::Listen | TcpState::Established));
        let mut sockets: Vec<_> = lasting
            .map(|s| format!("{} {:?}", s.local, s.state))
            .collect();
        sockets.sort();
        Self {
            links: mesh.bpf_links(),
            sockets,
            interfaces: pods.iter().map(|pod| pod.netns().links()).collect(),
            pins: ["n1", "n2"].map(|node| mesh.bpffs(node).exists()).into(),
        }
    }
}
