use apiserver::auth::CaBundle;
use apiserver::{Body, Connection, Lifecycle, RequestBody, Server, ServerOptions, Service, Tls, TlsMaterial};
use bytes::Bytes;
use env::simulated::World;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use telemetry::Metrics;

use super::*;
use crate::upstream::{Endpoint, Lane, Upstream, UpstreamOptions};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// Answers with the certificate that it was shown, if its CAs vouch for it; and to `/stream` never to the end.
struct Mirror(Arc<CaBundle>);

impl Service for Mirror {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let shown = connection.certificates.first().map(|leaf| leaf.to_vec());
        let body = match request.uri().path() {
            "/stream" => Body::foreign(Pending),
            _ => Body::full(shown.unwrap_or_default()),
        };
        let mut response = Response::new(body);
        if self.0.verify(&connection.certificates).is_err() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    }
}

/// Nothing comes, and nothing ends.
struct Pending;

impl http_body::Body for Pending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Pending
    }
}

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, in PEM.
fn client(ca: &Ca) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "component");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

struct Plane {
    _world: World,
    env: Env,
    server_env: Env,
    upstream: Upstream,
}

impl Plane {
    /// A server that believes what is in `clients.pem` on its disk, and a client with `client.crt` and `client.key` on its own.
    async fn new(clients: &Ca, next: &Ca) -> Self {
        let world = World::new(5, Default::default());
        let servers = ca();
        let (env, server_env) = (world.host("proxy").env(), world.host("shard").env());
        let own = CertificateParams::new(vec!["shard".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let material = TlsMaterial {
            certificate: own.signed_by(&key, &servers).unwrap().pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            client_ca: [clients.pem(), next.pem()].concat().into_bytes(),
        };
        let write =
            |env: &Env, name: &str, text: &str| env.disk.write_atomic(Path::new(name), text.as_bytes()).unwrap();
        write(&server_env, "clients.pem", &clients.pem());
        write(&env, "servers.pem", &servers.pem());
        let service = Arc::new(Mirror(CaBundle::open(&server_env, Path::new("clients.pem")).unwrap()));
        let tls = Tls::new(&server_env, &material).unwrap();
        let options = ServerOptions::default();
        let server = Server::new(
            server_env.clone(),
            options,
            service,
            Some(tls),
            Lifecycle::new(),
            Metrics::new(),
        );
        let listener = server_env.net.listen("shard:7000").await.unwrap();
        server_env
            .spawn
            .spawn("server", async move { server.run(listener).await })
            .detach();

        let (certificate, key) = client(clients);
        write(&env, "client.crt", &certificate);
        write(&env, "client.key", &key);
        let pair = (Path::new("client.crt"), Path::new("client.key"));
        let files = IdentityFiles::files(Path::new("servers.pem"), Some(pair));
        let (_, tls) = Identity::open(&env, files).unwrap();
        let endpoint = Endpoint::from_url("https://shard:7000", Some(tls)).unwrap();
        let upstream = Upstream::new(env.clone(), endpoint, UpstreamOptions::default());
        Self {
            _world: world,
            env,
            server_env,
            upstream,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        let body = Empty::new().map_err(|never: std::convert::Infallible| match never {});
        let request = Request::get(path).body(body.boxed_unsync()).unwrap();
        let answer = self.upstream.send(Lane::Short, request).await.unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }

    fn write(&self, name: &str, text: &str) {
        self.env.disk.write_atomic(Path::new(name), text.as_bytes()).unwrap();
    }

    /// Until files were looked at, and nobody believes what was verified before.
    async fn looked_at(&self) {
        self.env.clock.sleep(Duration::from_secs(25)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_replaced_on_disk_is_shown_with_the_next_request() {
    let (clients, next) = (ca(), ca());
    let plane = Plane::new(&clients, &next).await;
    let (status, first) = plane.get("/").await;
    assert_eq!(status, StatusCode::OK);
    plane.looked_at().await;
    assert_eq!(plane.get("/").await.1, first, "nothing has changed");
    // Between the writes of two files that belong together they do not.
    let (certificate, key) = client(&clients);
    plane.write("client.crt", &certificate);
    plane.looked_at().await;
    assert_eq!(plane.get("/").await, (StatusCode::OK, first.clone()));
    plane.write("client.key", &key);
    plane.looked_at().await;
    let (status, second) = plane.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(second, first);
}

#[tokio::test(start_paused = true)]
async fn streams_go_on_over_the_connection_that_they_began_on() {
    let (clients, next) = (ca(), ca());
    let plane = Plane::new(&clients, &next).await;
    let body = Empty::new().map_err(|never: std::convert::Infallible| match never {});
    let request = Request::get("/stream").body(body.boxed_unsync()).unwrap();
    let mut stream = plane.upstream.send(Lane::Short, request).await.unwrap().into_body();
    let (_, first) = plane.get("/").await;
    let (certificate, key) = client(&clients);
    plane.write("client.crt", &certificate);
    plane.write("client.key", &key);
    plane.looked_at().await;
    assert_ne!(plane.get("/").await.1, first);
    let ended = plane.env.clock.timeout(Duration::from_secs(60), stream.frame()).await;
    assert!(ended.is_err(), "it was not cut");
}

/// As when an old CA is given up: whoever still shows what it has signed is refused, whatever was open, until it has something else.
#[tokio::test(start_paused = true)]
async fn a_ca_that_is_believed_no_more_refuses_open_connections() {
    let (clients, next) = (ca(), ca());
    let plane = Plane::new(&clients, &next).await;
    assert_eq!(plane.get("/").await.0, StatusCode::OK);
    let server_disk = &plane.server_env.disk;
    server_disk
        .write_atomic(Path::new("clients.pem"), next.pem().as_bytes())
        .unwrap();
    plane.looked_at().await;
    assert_eq!(plane.get("/").await.0, StatusCode::UNAUTHORIZED);
    let (certificate, key) = client(&next);
    plane.write("client.crt", &certificate);
    plane.write("client.key", &key);
    plane.looked_at().await;
    assert_eq!(plane.get("/").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn files_that_are_empty_for_a_moment_change_nothing() {
    let (clients, next) = (ca(), ca());
    let plane = Plane::new(&clients, &next).await;
    let first = plane.get("/").await;
    for name in ["client.crt", "servers.pem"] {
        let before = plane.env.disk.read(Path::new(name)).unwrap();
        plane.write(name, "");
        plane.looked_at().await;
        assert_eq!(plane.get("/").await, first, "{name}");
        plane.write(name, std::str::from_utf8(&before).unwrap());
        plane.looked_at().await;
        assert_eq!(plane.get("/").await, first, "{name}");
    }
}
