//! Certificates do not hold for ever: processes outlive them, and take over what replaces them.

use std::time::Duration;

use crate::world::{World, authority, eventually};

const MAPS: &str = "/clusters/root:alpha/api/v1/namespaces/default/configmaps";

/// As when a certificate has run out, and when the one that signs them is given up.
#[test]
fn a_proxy_whose_certificates_do_not_hold_any_more_heals_when_they_are_replaced() {
    let (clients, proxies) = (authority("clients"), authority("proxies"));
    let world = World::start(&clients, &proxies);
    let alice = world.person("alice");
    let within = Duration::from_secs(20);
    world.run(async {
        let known = async |code: u16| {
            let answer = alice.get(MAPS, within).await.ok()?;
            (answer.code == code).then_some(answer)
        };
        eventually("it is served", async || known(200).await).await;

        let (next_clients, next_proxies) = (authority("next clients"), authority("next proxies"));
        let files = world.files();
        files.write("clients.pem", &next_clients.pem());
        files.write("proxies.pem", &next_proxies.pem());
        // The shard believes nothing of the proxy any more. That is not the client's fault, whose token holds.
        let lost = eventually("the shard has given up the old CA", async || {
            let answer = alice.get(MAPS, within).await.ok()?;
            assert!(matches!(answer.code, 200 | 503), "{} {}", answer.code, answer.json());
            (answer.code == 503).then_some(answer)
        });
        assert_eq!(lost.await.json()["reason"], "ServiceUnavailable");

        files.write_clients(&next_clients, &next_proxies);
        eventually("the proxy shows its new certificate", async || known(200).await).await;
        // What only shards can say goes over the component's certificate.
        eventually("unknown paths are refused", async || {
            let answer = alice.get("/clusters/root:alpha:nope/api", within).await.ok()?;
            matches!(answer.code, 403 | 404).then_some(())
        })
        .await;
        let below = world.workspace(&alice, "root:alpha", "later").await;
        let entered = alice
            .get(&format!("/clusters/{below}/api/v1/configmaps"), within)
            .await
            .unwrap();
        assert_eq!(entered.code, 200, "{}", entered.json());
    });
}
