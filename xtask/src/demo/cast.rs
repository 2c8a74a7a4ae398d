//! Who takes part: pods, what runs in them, and how their clients reach the servers.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use weir_tests::{Mesh, Pod, Proc, ServiceHandle};

/// What the pages say and Redis stores: bytes that must be found on the wire without the mesh, and
/// must not be found with it.
pub(super) const WEB_PAGE: &str = "the web shop's page";
pub(super) const CATALOG_PAGE: &str = "the catalog's page";
pub(super) const CARD_NUMBER: &str = "4111-1111-1111-1111";

const PAGE_PORT: u16 = 8080;
const REDIS_PORT: u16 = 6379;

/// Which addresses the clients dial.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// A pod's own: without a mesh there is nobody here, such as kube-proxy, who would know a service's.
    Pods,
    Services,
}

/// `web` and `redis` are a network away from their clients, `catalog` too, in the other direction.
pub(super) struct Cast {
    // Before the pods that it runs in.
    servers: [Proc; 3],
    web_service: ServiceHandle,
    catalog_service: ServiceHandle,
    redis_service: ServiceHandle,
    /// Node 1: two clients and a server.
    pub(super) shopper: Pod,
    pub(super) cart: Pod,
    pub(super) catalog: Pod,
    /// Node 2: two servers and a client.
    pub(super) web: Pod,
    pub(super) redis: Pod,
    pub(super) office: Pod,
    pub(super) mesh: Mesh,
}

impl Cast {
    pub(super) fn assemble() -> Self {
        let mesh = Mesh::new(2);
        let [shopper, cart, catalog] =
            ["shopper", "cart", "catalog"].map(|name| mesh.pod(name, "n1").listed());
        let [web, redis, office] =
            ["web", "redis", "office"].map(|name| mesh.pod(name, "n2").listed());
        Self {
            servers: [
                web.nginx(PAGE_PORT, WEB_PAGE.replace('\'', "\\'").as_str()),
                catalog.nginx(PAGE_PORT, CATALOG_PAGE.replace('\'', "\\'").as_str()),
                redis.redis(REDIS_PORT),
            ],
            web_service: mesh.service("web", 80, PAGE_PORT, &[&web]),
            catalog_service: mesh.service("catalog", 80, PAGE_PORT, &[&catalog]),
            redis_service: mesh.service("redis", REDIS_PORT, REDIS_PORT, &[&redis]),
            shopper,
            cart,
            catalog,
            web,
            redis,
            office,
            mesh,
        }
    }

    pub(super) fn pods(&self) -> [&Pod; 6] {
        [
            &self.shopper,
            &self.cart,
            &self.catalog,
            &self.web,
            &self.redis,
            &self.office,
        ]
    }

    pub(super) fn introduce(&self) {
        for pod in self.pods() {
            let node = pod.node().unwrap_or_default();
            println!("    {node}  {:<8} {}", pod.name(), pod.ipv4());
        }
    }

    pub(super) fn server_pids(&self) -> [i32; 3] {
        self.servers.each_ref().map(Proc::pid)
    }

    pub(super) fn servers_run(&self) -> bool {
        self.servers.iter().all(Proc::is_running)
    }

    pub(super) fn web_addr(&self, way: Way) -> SocketAddr {
        reach(way, &self.web_service, &self.web, PAGE_PORT)
    }

    fn catalog_addr(&self, way: Way) -> SocketAddr {
        reach(way, &self.catalog_service, &self.catalog, PAGE_PORT)
    }

    pub(super) fn redis_addr(&self, way: Way) -> SocketAddr {
        reach(way, &self.redis_service, &self.redis, REDIS_PORT)
    }

    /// Every client once, each answer checked.
    pub(super) fn act(&self, way: Way) -> Result<()> {
        let page = self.shopper.curl(self.web_addr(way), "/");
        ensure!(page == WEB_PAGE, "the shopper got {page:?} from web");
        let page = self.office.curl(self.catalog_addr(way), "/");
        ensure!(page == CATALOG_PAGE, "the office got {page:?} from catalog");
        let page = self.office.curl(self.web_addr(way), "/");
        ensure!(
            page == WEB_PAGE,
            "the office got {page:?} from web, on its own node"
        );

        let redis = self.redis_addr(way);
        let answer = redis_cli(&self.cart, redis, &["SET", "card", CARD_NUMBER]);
        ensure!(
            answer == "OK",
            "Redis answered {answer:?} to the cart's SET"
        );
        let answer = redis_cli(&self.cart, redis, &["GET", "card"]);
        ensure!(
            answer == CARD_NUMBER,
            "Redis answered {answer:?} to the cart's GET"
        );
        Ok(())
    }
}

fn reach(way: Way, service: &ServiceHandle, pod: &Pod, port: u16) -> SocketAddr {
    match way {
        Way::Pods => pod.v4(port),
        Way::Services => service.v4,
    }
}

fn redis_cli(pod: &Pod, addr: SocketAddr, words: &[&str]) -> String {
    let said = pod
        .command("redis-cli")
        .args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string()])
        .args(words)
        .run()
        .expect_ok();
    said.trim().to_owned()
}
