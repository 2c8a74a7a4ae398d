//! Namespaces, addresses, cleaning up.

use std::{fs, path::Path, time::Duration};

use weir_tests::{Mesh, never, sweep};

#[test]
fn pods_reach_each_other_over_both_families() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    for addr in [server.v4(8080), server.v6(8080)] {
        client.expect_echo(addr);
    }
}

#[test]
fn an_address_of_nobody_is_refused_at_once() {
    let (_mesh, client, _server) = Mesh::client_and_server();
    for addr in ["10.96.0.200:80", "[fd00:96::200]:80"] {
        let talk = client.hello(addr.parse().unwrap());
        assert_eq!(talk.error(), "unreachable", "{talk:?}");
    }
}

#[test]
fn meshes_have_the_same_addresses_and_do_not_meet() {
    let (_a, client, _) = Mesh::client_and_server();
    let (_b, _, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    assert_eq!(client.hello(server.v4(8080)).error(), "refused");
}

#[test]
fn nothing_is_left_behind() {
    let (mesh, client, server) = Mesh::client_and_server();
    let name = mesh.dir().file_name().unwrap().to_str().unwrap().to_owned();
    let echo = server.serve("echo", 8080);
    let held = client
        .testprog(&["hold", &server.v4(8080).to_string(), "3"])
        .spawn();
    held.event_named("open");
    let pids = [echo.pid(), held.pid()];
    assert!(!leftovers(&name).is_empty());
    drop((held, echo, client, server, mesh));
    assert_eq!(leftovers(&name), Vec::<String>::new());
    assert!(
        pids.iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    );
}

#[test]
fn nothing_is_left_behind_by_a_panic() {
    let run = std::panic::catch_unwind(|| {
        let (mesh, _client, server) = Mesh::client_and_server();
        let _echo = server.serve("echo", 8080);
        let name = mesh.dir().file_name().unwrap().to_str().unwrap().to_owned();
        std::panic::panic_any(name);
    });
    let name = run.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(leftovers(&name), Vec::<String>::new());
}

#[test]
fn what_a_dead_run_left_is_swept() {
    // No process has this pid: it is above the kernel's limit.
    let name = "weir-test-99999999-0-pod";
    let status = std::process::Command::new("ip")
        .args(["netns", "add", name])
        .status();
    assert!(status.unwrap().success());
    fs::create_dir_all(Path::new("/tmp").join(name)).unwrap();
    sweep();
    assert_eq!(leftovers("weir-test-99999999-0"), Vec::<String>::new());
}

#[test]
fn a_destroyed_pod_is_gone_from_the_network() {
    let (mesh, client, server) = Mesh::client_and_server();
    let echo = server.serve("echo", 8080);
    let addr = server.v4(8080);
    assert!(mesh.destroy(server, Duration::from_secs(10)));
    assert!(!echo.is_running());
    assert!(!client.hello(addr).is_ok());
}

#[test]
fn a_pod_that_has_vanished_refuses_nobody() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    for addr in [server.v4(8080), server.v6(8080)] {
        client.expect_echo(addr);
        server.vanish();
        let patient = client.talker(&["--nonblocking"], addr, &["send:hello"]);
        never("an answer", Duration::from_millis(500), || {
            (!patient.is_running()).then(|| patient.stdout())
        });
        server.come_back();
        client.expect_echo(addr);
    }
}

/// Everything on the machine that bears the name of a run.
fn leftovers(name: &str) -> Vec<String> {
    let cgroups =
        fs::read_dir("/sys/fs/cgroup/unified").or_else(|_| fs::read_dir("/sys/fs/cgroup"));
    ["/run/netns", "/sys/fs/bpf", "/tmp"]
        .iter()
        .flat_map(fs::read_dir)
        .chain(cgroups)
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .filter(|path| path.contains(name))
        .collect()
}
