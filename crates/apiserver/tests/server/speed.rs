//! What requests cost. Run by hand, released: `cargo test --release -p apiserver --test server -- --ignored speed`.

use std::sync::Arc;
use std::time::Duration;

use apiserver::{Tls, TlsMaterial};
use env::Env;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::world::{CONSUMER, Client, Setup, World};

const CONNECTIONS: usize = 8;
const STREAMS: usize = 8;
const REQUESTS: usize = 5_000;

/// CPU time of a thread of this process: user and system, in ticks of 10 ms.
fn cpu_of(thread: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Gets one ConfigMap of 1 KiB over TLS and HTTP/2 and says what the server's thread used for each.
#[test]
#[ignore = "measures; needs a quiet machine and a release build"]
fn speed_of_a_get_through_tls_and_http2() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let material = TlsMaterial {
        certificate: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        client_ca: Vec::new(),
    };
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let env = Env::real();
            let tls = Tls::new(&env, &material).unwrap();
            let world = World::on(env, Some(tls), Setup::default()).await;
            let object = json!({"metadata": {"name": "c"}, "data": {"k": "x".repeat(1024)}});
            world.put(CONSUMER, "", "configmaps", "default", object).await;
            let listener = world.env.net.listen("127.0.0.1:0").await.unwrap();
            tell.send((listener.address(), thread_id())).unwrap();
            world.server.run(listener).await;
        });
    });
    let (address, server) = told.recv().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    runtime().block_on(async move {
        let env = Env::real();
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = connector
                .connect(ServerName::try_from("localhost").unwrap(), stream)
                .await
                .unwrap();
            let client = Client::http2(stream, &env).await.acting_as("user-1");
            for _ in 0..STREAMS {
                let mut client = client.stream();
                tasks.push(env.spawn.spawn("load", async move {
                    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps/c");
                    for _ in 0..REQUESTS {
                        assert_eq!(client.get(&path).await.code, 200);
                    }
                }));
            }
        }
        let before = cpu_of(server);
        let begun = env.clock.monotonic();
        for task in tasks {
            task.join().await.unwrap();
        }
        let count = (CONNECTIONS * STREAMS * REQUESTS) as u32;
        let each = (cpu_of(server) - before) / count;
        let rate = f64::from(count) / (env.clock.monotonic() - begun).as_secs_f64();
        println!("{each:?} of CPU for each get, {rate:.0} gets a second");
        assert!(each < Duration::from_micros(40), "{each:?}");
    });
}
