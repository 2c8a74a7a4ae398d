//! Broken, half-written and invalid manifests: what runs goes on, and each is reported once, with
//! its file and field.

use std::time::Duration;

use serde_json::json;
use weir_tests::{Agent, Mesh, eventually, manifests};

const REJECTED: &str = "weir_config_rejected_objects";

#[test]
fn broken_manifests_disturb_nothing_and_are_reported_once() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    let agent = mesh.agent_of(&client);

    // A file that is no YAML.
    mesh.manifests()
        .write("broken.yaml", "kind: Service\n  - : {{{\n\t\"");
    rejected(&agent, 1.0);
    assert_eq!(mentions(&agent, "broken.yaml"), 1, "{}", agent.log());

    // A file that an editor has half written: the objects it had stay.
    let service = web.manifest();
    let file = manifests::file_name(&service);
    let whole = std::fs::read_to_string(mesh.manifests().dir().join(&file)).unwrap();
    mesh.manifests()
        .write_in_place(&file, &whole[..whole.len() / 2]);
    rejected(&agent, 2.0);
    client.expect_echo(web.v4);

    // Whole again, but with a field that cannot be: the last good version stays.
    let mut invalid = service.clone();
    invalid["spec"]["ports"][0]["port"] = json!(70000);
    mesh.apply(&invalid);
    eventually("the field is named", Duration::from_secs(3), || {
        let log = agent.log();
        log.lines()
            .any(|line| line.contains(&file) && line.contains("spec.ports[0].port"))
            .then_some(())
            .ok_or(log)
    });
    client.expect_echo(web.v4);

    // All of it mended; nothing was said twice meanwhile.
    mesh.apply(&service);
    mesh.manifests().remove("broken.yaml");
    rejected(&agent, 0.0);
    assert_eq!(mentions(&agent, "broken.yaml"), 1, "{}", agent.log());
    assert!(agent.is_ready());
    client.expect_echo(web.v4);
    mesh.expect_tunnelled(&client, &server, 3);
}

#[test]
fn a_policy_that_cannot_be_read_denies() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    stranger.expect_echo(server.v4(8080));

    mesh.apply(&manifests::peer_authentication(
        "shop",
        "default",
        None,
        "STRIKT",
        &[],
    ));
    crate::permissive_and_strict::becomes_refused(&stranger, &server);
    rejected(&mesh.agent_of(&server), 1.0);
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}

fn rejected(agent: &Agent, wanted: f64) {
    eventually(
        "rejected objects are counted",
        Duration::from_secs(3),
        || {
            let seen = agent.metric(REJECTED, &[]);
            if seen == wanted {
                Ok(())
            } else {
                Err((seen, agent.log()))
            }
        },
    );
}

/// Lines at WARN or ERROR; that the folder was read again may be told at other levels.
fn mentions(agent: &Agent, file: &str) -> usize {
    let log = agent.log();
    let reports = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"));
    reports.filter(|line| line.contains(file)).count()
}
