//! Shards that talk nonsense: what is registered as a shard and has a shard's certificate, and is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{BOUND, World, authority, create, eventually};

const SHARDS: &str = "/clusters/root/apis/core.kcp.io/v1alpha1/shards";
const MAPS: &str = "/clusters/root:alpha/api/v1/namespaces/default/configmaps";

/// What it sends to whoever connects.
#[derive(Clone, Copy, Debug)]
enum Garbage {
    /// Not even TLS.
    Plain,
    /// What no protocol has.
    Noise,
    /// Another protocol than was agreed on.
    OldHttp,
    /// Frames that are none, after a beginning that is one.
    Frames,
    /// It hangs up.
    Nothing,
    /// It hears everything, and never says anything.
    Silence,
}

const ALL: [Garbage; 6] = [
    Garbage::Plain,
    Garbage::Noise,
    Garbage::OldHttp,
    Garbage::Frames,
    Garbage::Nothing,
    Garbage::Silence,
];

async fn serve(world: &World, garbage: Garbage) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(world.files().serving()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if matches!(garbage, Garbage::Plain) {
                    let _gone = stream.write_all(&[0x7f; 4096]).await;
                    return;
                }
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let bytes: &[u8] = match garbage {
                    Garbage::Plain | Garbage::Nothing => return,
                    Garbage::Noise => &[0xab; 100_000],
                    Garbage::OldHttp => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
                    // An empty SETTINGS, then DATA of a stream that nobody has opened.
                    Garbage::Frames => b"\0\0\0\x04\0\0\0\0\0\0\0\x04\0\x01\0\0\0\x07spam",
                    Garbage::Silence => b"",
                };
                let _gone = stream.write_all(bytes).await;
                let mut heard = [0; 4096];
                while let Ok(1..) = stream.read(&mut heard).await {}
            });
        }
    });
    port
}

#[test]
fn shards_that_talk_nonsense_take_nothing_with_them() {
    let world = World::start(&authority("clients"), &authority("proxies"));
    let (admin, alice) = (world.person("admin"), world.person("alice"));
    world.run(async {
        for garbage in ALL {
            let url = format!("https://localhost:{}", serve(&world, garbage).await);
            let name = format!("{garbage:?}").to_lowercase();
            let shard = json!({"apiVersion": "core.kcp.io/v1alpha1", "kind": "Shard", "metadata": {"name": name},
                "spec": {"baseURL": url, "externalURL": url, "virtualWorkspaceURL": url}});
            create(&admin, SHARDS, &shard).await;
        }
        // The proxy has heard of them: any of them may hold what nobody else does.
        let unknown = "/clusters/0000nobody0000/api";
        eventually("the proxy knows all shards", async || {
            let answer = alice.get(unknown, BOUND).await.ok()?;
            (answer.code == 503).then_some(())
        })
        .await;
        for _ in 0..20 {
            let begun = Instant::now();
            let answer = alice.get(MAPS, BOUND).await.unwrap();
            assert_eq!(answer.code, 200, "{}", answer.json());
            let answer = alice.get(unknown, BOUND).await.unwrap();
            assert_eq!(answer.code, 503, "{}", answer.json());
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
        // Nothing is scheduled to them.
        let below = world.workspace(&alice, "root:alpha", "below").await;
        let entered = alice
            .get(&format!("/clusters/{below}/api/v1/configmaps"), BOUND)
            .await
            .unwrap();
        assert_eq!(entered.code, 200, "{}", entered.json());
        // Nor is anybody asked who is no shard any more.
        for garbage in ALL {
            let one = format!("{SHARDS}/{}", format!("{garbage:?}").to_lowercase());
            let gone = admin.send(Method::DELETE, &one, None, BOUND).await.unwrap();
            assert_eq!(gone.code, 200, "{}", gone.json());
        }
        eventually("names that nobody holds are refused again", async || {
            let answer = alice.get(unknown, BOUND).await.ok()?;
            (answer.code == 403).then_some(())
        })
        .await;
    });
}
