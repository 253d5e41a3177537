//! TLS: both protocols, client certificates, and changing certificates while running.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Connection, Tls, TlsFiles, TlsMaterial};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::world::{Client, World};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(issuer: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

fn material(issuer: &Issuer, name: &str, clients: &Issuer) -> TlsMaterial {
    let (certificate, key) = leaf(issuer, name);
    TlsMaterial {
        certificate: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        client_ca: clients.pem().into_bytes(),
    }
}

/// A connector that trusts `root` and shows a certificate of `client`'s.
fn connector(root: &Issuer, client: Option<(&Issuer, &str)>, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((issuer, name)) => {
            let (certificate, key) = leaf(issuer, name);
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate.der().clone()], key)
                .unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

type Shaken = (tokio_rustls::client::TlsStream<tokio::io::DuplexStream>, Connection);

/// Shakes hands; the server's end goes on to be served.
async fn shake(world: &World, tls: &Arc<Tls>, connector: &TlsConnector) -> Result<Shaken, std::io::Error> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("localhost").unwrap();
    let (near, far) = tokio::join!(connector.connect(name, near), tls.accept(far, "10.0.0.9:1".to_owned()));
    let (stream, connection) = far?;
    let (server, served) = (world.server.clone(), connection.clone());
    world
        .env
        .spawn
        .spawn(
            "connection",
            async move { server.serve_connection(stream, served).await },
        )
        .detach();
    Ok((near?, connection))
}

fn serving_name(stream: &tokio_rustls::client::TlsStream<tokio::io::DuplexStream>) -> Vec<CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates().unwrap().to_vec()
}

#[tokio::test(start_paused = true)]
async fn both_protocols_are_spoken() {
    let world = World::new().await;
    let (root, clients) = (authority("root"), authority("clients"));
    let tls = Tls::new(&world.env, &material(&root, "server", &clients)).unwrap();
    let (stream, _) = shake(&world, &tls, &connector(&root, None, &[b"h2", b"http/1.1"]))
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Client::http2(stream, &world.env).await.acting_as("kcp-admin");
    assert_eq!(client.get("/clusters/root/api/v1/namespaces/default").await.code, 200);
    for protocols in [&[b"http/1.1" as &[u8]] as &[&[u8]], &[]] {
        let (stream, _) = shake(&world, &tls, &connector(&root, None, protocols)).await.unwrap();
        let mut client = Client::http1(stream, &world.env).await.acting_as("kcp-admin");
        assert_eq!(client.get("/clusters/root/api/v1/namespaces/default").await.code, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn client_certificates_are_optional_and_checked() {
    let world = World::new().await;
    let (root, clients, foreign) = (authority("root"), authority("clients"), authority("foreign"));
    let tls = Tls::new(&world.env, &material(&root, "server", &clients)).unwrap();
    let (_, none) = shake(&world, &tls, &connector(&root, None, &[])).await.unwrap();
    assert!(none.certificates.is_empty() && !none.certificate_refused);
    let (_, good) = shake(&world, &tls, &connector(&root, Some((&clients, "alice")), &[]))
        .await
        .unwrap();
    assert_eq!(good.certificates.len(), 1);
    // A foreign certificate gets through the handshake, but counts as a credential that does not hold.
    let (stream, bad) = shake(&world, &tls, &connector(&root, Some((&foreign, "mallory")), &[]))
        .await
        .unwrap();
    assert!(bad.certificates.is_empty() && bad.certificate_refused);
    let mut client = Client::http1(stream, &world.env).await;
    assert_eq!(client.get("/clusters/root/api").await.code, 401);
    let mut client = client.acting_as("kcp-admin");
    assert_eq!(
        client.get("/clusters/root/api").await.code,
        200,
        "another credential may hold"
    );
}

/// Whether a connection was resumed. It has been used: what it is resumed with comes after the handshake.
async fn is_resumed(stream: tokio_rustls::client::TlsStream<tokio::io::DuplexStream>, world: &World) -> bool {
    let kind = stream.get_ref().1.handshake_kind();
    let mut client = Client::http1(stream, &world.env).await.acting_as("kcp-admin");
    assert_eq!(client.get("/clusters/root/api").await.code, 200);
    kind == Some(rustls::HandshakeKind::Resumed)
}

/// Nothing is kept for it, so a number of clients that do not come back costs nothing.
#[tokio::test(start_paused = true)]
async fn connections_are_resumed_with_what_clients_bring_along() {
    let world = World::new().await;
    let (root, clients) = (authority("root"), authority("clients"));
    let material = material(&root, "server", &clients);
    let tls = Tls::new(&world.env, &material).unwrap();
    let alice = connector(&root, Some((&clients, "alice")), &[]);
    let (first, _) = shake(&world, &tls, &alice).await.unwrap();
    assert!(!is_resumed(first, &world).await);
    // More often than a server that keeps a thousand sessions would remember the first.
    for _ in 0..1100 {
        let (stream, _) = shake(&world, &tls, &connector(&root, None, &[])).await.unwrap();
        drop(stream);
    }
    let (second, connection) = shake(&world, &tls, &alice).await.unwrap();
    assert!(is_resumed(second, &world).await);
    assert_eq!(connection.certificates.len(), 1, "who it is goes with it");
    let (elsewhere, _) = shake(&world, &Tls::new(&world.env, &material).unwrap(), &alice)
        .await
        .unwrap();
    assert!(
        !is_resumed(elsewhere, &world).await,
        "what another server gave means nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn certificates_change_while_running() {
    let world = World::new().await;
    let (root, clients, others) = (authority("root"), authority("clients"), authority("others"));
    let files = TlsFiles {
        certificate: PathBuf::from("tls.crt"),
        key: "tls.key".into(),
        client_ca: vec!["ca.crt".into()],
    };
    let write = |material: &TlsMaterial| {
        let disk = &world.env.disk;
        disk.write_atomic(&files.certificate, &material.certificate).unwrap();
        disk.write_atomic(&files.key, &material.key).unwrap();
        disk.write_atomic(&files.client_ca[0], &material.client_ca).unwrap();
    };
    let first = material(&root, "first", &clients);
    write(&first);
    let tls = Tls::new(&world.env, &files.read(&*world.env.disk).unwrap()).unwrap();
    let (env, follower, followed) = (world.env.clone(), tls.clone(), files.clone());
    let follow = async move { follower.follow(&env, followed, Duration::from_secs(10)).await };
    world.env.spawn.spawn("tls", follow).detach();
    let connector_of = |clients: &Issuer| connector(&root, Some((clients, "alice")), &[]);
    let (open, _) = shake(&world, &tls, &connector_of(&clients)).await.unwrap();
    let before = serving_name(&open);
    // A key that does not fit its certificate yet is not taken over.
    let second = material(&root, "second", &others);
    world
        .env
        .disk
        .write_atomic(&files.certificate, &second.certificate)
        .unwrap();
    world.env.clock.sleep(Duration::from_secs(30)).await;
    let (stream, _) = shake(&world, &tls, &connector_of(&clients)).await.unwrap();
    assert_eq!(serving_name(&stream), before);
    write(&second);
    world.env.clock.sleep(Duration::from_secs(30)).await;
    let (stream, connection) = shake(&world, &tls, &connector_of(&others)).await.unwrap();
    assert_ne!(serving_name(&stream), before);
    assert_eq!(connection.certificates.len(), 1, "the client CA has changed, too");
    let mut client = Client::http1(open, &world.env).await.acting_as("kcp-admin");
    assert_eq!(
        client.get("/clusters/root/api").await.code,
        200,
        "open connections go on"
    );
}

#[tokio::test(start_paused = true)]
async fn useless_material_is_named() {
    let world = World::new().await;
    let (root, clients) = (authority("root"), authority("clients"));
    let good = material(&root, "server", &clients);
    let other = material(&root, "server", &clients);
    for (bad, expected) in [
        (
            TlsMaterial {
                certificate: b"nonsense".to_vec(),
                ..good.clone()
            },
            "the serving certificate contains no certificate",
        ),
        (
            TlsMaterial {
                key: b"nonsense".to_vec(),
                ..good.clone()
            },
            "the serving key cannot be read as PEM",
        ),
        (
            TlsMaterial {
                key: other.key,
                ..good.clone()
            },
            "certificate and key cannot be used",
        ),
        (
            TlsMaterial {
                client_ca: b"x".to_vec(),
                ..good.clone()
            },
            "the client CA contains no certificate",
        ),
    ] {
        let error = Tls::new(&world.env, &bad).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
